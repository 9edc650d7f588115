"""The manifests for Kubernetes: fields by KubeRay's types, sizes by Ray's autoscaler, and one name for one thing."""

from __future__ import annotations

import re

import pytest

from tests.support.deployment import (
    CLUSTER,
    CLUSTERS,
    DEPLOY,
    JOB,
    PAGES,
    SERVE,
    SERVICE,
    SHARED,
    fit,
    of,
    parsed,
    taken,
)

_POD = {
    "containers": {
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "livenessProbe",
        "name",
        "resources",
        "startupProbe",
        "volumeMounts",
    },
    "securityContext": {"fsGroup"},
    "tolerations": {"effect", "key", "operator"},
    "volumes": {"name", "persistentVolumeClaim"},
    "terminationGracePeriodSeconds": None,
}
_GROUP = {"rayStartParams", "template"}
_WORKERS = {*_GROUP, "groupName", "replicas", "minReplicas", "maxReplicas"}
_CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}


def groups(spec):
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def pods():
    """Every pod that the manifests ask for."""
    found = {
        f"{name} {place}": group["template"]
        for name, spec in CLUSTERS.items()
        for place, group in enumerate(groups(spec))
    }
    return {**found, "serve": SERVE["spec"]["template"]}


def test_fields_are_those_of_kuberay():
    """By the types of KubeRay 1.3: what is not among them is refused, or dropped without a word."""
    assert {document["apiVersion"] for document in (JOB, CLUSTER)} == {"ray.io/v1"}
    assert set(JOB["spec"]) <= {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    for spec in CLUSTERS.values():
        assert set(spec) <= _CLUSTER
        assert set(spec["headGroupSpec"]) == _GROUP
        for group in spec["workerGroupSpecs"]:
            assert set(group) == _WORKERS
        for group in groups(spec):
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_pods_are_whole(pod):
    spec = pod["spec"]
    for name, value in spec.items():
        if _POD[name] is not None:
            for part in value if isinstance(value, list) else [value]:
                assert set(part) <= _POD[name]
    (container,) = spec["containers"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [SHARED]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]] == ["semret"]
    # The group of Ray's images, which is to write there.
    assert spec["securityContext"] == {"fsGroup": 100}
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_all_pods_run_the_image_that_the_page_builds():
    (built,) = re.findall(r"docker build .* -t (\S+) ", PAGES[0].read_text("utf-8"))
    assert {pod["spec"]["containers"][0]["image"] for pod in pods().values()} == {built}
    assert f"-t {built} " in (DEPLOY / "Dockerfile").read_text("utf-8")


def _node_types(name):
    """What Ray's autoscaler makes of a cluster."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "semret", "namespace": "default"}, "spec": CLUSTERS[name]}
    return _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]


def test_pods_of_the_job_hold_what_its_command_has_them_hold():
    types = _node_types("kuberay-index.yaml")
    assert types["headgroup"]["resources"]["CPU"] == 0
    amounts, (_, most) = taken(of("kuberay-index.yaml", "semret"))
    assert types["gpu"]["min_workers"] == 0
    assert most <= types["gpu"]["max_workers"] * fit(amounts, types["gpu"]["resources"])


def test_the_cluster_that_serves_holds_shards_and_replicas():
    options = parsed(of("kuberay-serve.yaml", "semret"))
    wanted = options["shards"] * options["shard_copies"] * (options["shard_cpus"] or 1) + options["replicas"]
    types = _node_types("kuberay-serve.yaml")
    assert wanted <= sum(kind["min_workers"] * kind["resources"]["CPU"] for kind in types.values())


def test_the_serving_pod_finds_the_cluster_and_is_found():
    name, container = CLUSTER["metadata"]["name"], SERVE["spec"]["template"]["spec"]["containers"][0]
    script = container["args"][0]
    # The service that KubeRay makes for a head.
    assert set(re.findall(r"[\w-]+-svc:\d+", script)) == {f"{name}-head-svc:6379", f"{name}-head-svc:8265"}
    assert SERVE["spec"]["selector"]["matchLabels"] == SERVE["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"] == {"ray.io/cluster": name, "ray.io/node-type": "head"}
    options = parsed(of("kuberay-serve.yaml", "semret"))
    assert [port["targetPort"] for port in SERVICE["spec"]["ports"]] == [options["port"]]
    assert options["name"] == [SERVICE["metadata"]["name"]]
    for probe in (container["startupProbe"], container["livenessProbe"]):
        (line,) = probe["exec"]["command"][2:]
        compile(line, "probe", "exec")
        assert f"'http://{SERVICE['metadata']['name']}:{options['port']}/healthz'" in line
    assert {variable["name"] for variable in container["env"]} == {"SEMRET_TOKEN"}

"""The files of `deploy` and the commands of its pages: read by who would read them, without a cluster or a network.

What a file says of semret is read by the parser of the command line, what it says to Ray by Ray.
"""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from tests.support.deployment import AWS, CLUSTERS, DEPLOY, MACHINES, PAGES, SHARED, fit, of, parsed, taken, written
from tests.support.places import ROOT

_GROWING = ("--ray", "auto", "--actors", "1:10")


@pytest.mark.parametrize("words", list(written("semret")))
def test_commands_are_those_of_semret(words):
    from semret.cluster.connection import AUTO, LOCAL
    from semret.cluster.pool import PoolOptions

    options = parsed(words)
    assert options.get("ray") in (None, AUTO, LOCAL)
    if words[1] == "index" and options["ray"]:
        amounts, (least, most) = taken(words)
        PoolOptions(least=least, most=most, cpus=amounts["CPU"], gpus=amounts["GPU"])


@pytest.mark.parametrize("words", [*written("ray"), *written("serve")])
def test_commands_are_those_of_ray(words):
    from ray.scripts.scripts import cli
    from ray.serve.scripts import cli as serving

    command, rest = (
        {"ray": cli, "serve": serving}[words[0]],
        [re.sub(r"^(HEAD|\$RAY_HEAD_IP):", "10.0.0.1:", word) for word in words[1:]],
    )
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    # After -- is what is run; files that are named have to be there.
    command.make_context(words[1], rest)
    for word in words:
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file()


def test_every_file_is_explained_and_brought():
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    for file in DEPLOY.iterdir():
        assert f"(../deploy/{file.name})" in pages
    assert "graft deploy" in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()


def test_images_have_the_ray_that_is_the_least_that_semret_takes():
    """All computers need the same Ray; the files name the oldest, so who raises the bound raises the images."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["cluster"]
    least = re.search(r"ray\[data,serve\]>=([\d.]+)", " ".join(extra))[1]
    version = ".".join([*least.split("."), "0", "0"][:3])
    images = [AWS["docker"]["head_image"], AWS["docker"]["image"]]
    images.append(re.search(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.M)[1])
    for image in images:
        assert re.fullmatch(rf"rayproject/ray:{re.escape(version)}-py311(-gpu)?", image)
    assert [spec["rayVersion"] for spec in CLUSTERS.values()] == [version, version]
    pins = re.findall(r"ray==([\d.]+)", (DEPLOY / "Dockerfile").read_text("utf-8") + str(AWS["setup_commands"]))
    assert pins == [version, version]


# -- ray up


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """The file as `ray up` prepares it in an emulated AWS, and the group that was there before."""
    folder = tmp_path_factory.mktemp("aws")
    (folder / "dist").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # Keys are written into the home.
        for name, value in {"HOME": str(folder), "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.chdir(folder)
        yield _prepared()


def _prepared():
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.utils import resource_cache
    from ray.autoscaler._private.providers import _get_node_provider_cls
    from ray.autoscaler._private.util import prepare_config, validate_config

    resource_cache.cache_clear()
    with mock_aws():
        iam = boto3.client("iam", "eu-central-1")
        for kind in ("head", "worker"):
            iam.create_instance_profile(InstanceProfileName=f"semret-{kind}")
        ec2 = boto3.client("ec2", "eu-central-1")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="semret", Description="NFS", VpcId=vpc)["GroupId"]
        provider = _get_node_provider_cls(AWS["provider"])
        config = provider.fillout_available_node_types_resources(prepare_config(AWS))
        validate_config(config)
        return provider.bootstrap_config(config), group


def test_ray_takes_the_file_for_aws_as_it_is(aws):
    config, group = aws
    types = config["available_node_types"]
    for kind, node in types.items():
        made = node["node_config"]
        # Ray's own: an image that is too old, and a worker that may read nothing.
        assert made["ImageId"] == "AMI"
        assert made["IamInstanceProfile"] == {"Name": f"semret-{kind}"}
        # The group of the file system's mount targets.
        assert made["SecurityGroupIds"] == [group]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["min_workers"] == 0
    # What Ray would install on the head by itself may take s3fs another botocore.
    assert config["head_setup_commands"] == AWS["setup_commands"]
    assert "boto3" in shlex.split(AWS["setup_commands"][0])


@pytest.mark.parametrize("kind", AWS["available_node_types"])
def test_machines_of_aws_are_described_in_its_words(kind):
    from botocore.session import Session
    from botocore.validate import ParamValidator

    asked = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    given = {**AWS["available_node_types"][kind]["node_config"], "MinCount": 1, "MaxCount": 1}
    assert not ParamValidator().validate(given, asked).has_errors()


def test_each_machine_of_aws_is_given_an_image(aws):
    """By the autoscaler that `ray up` starts: it has the head take what the validator lets pass, and workers fail."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    read = AutoscalingConfig(aws[0])
    assert read.get_docker_config("head")["image"] == AWS["docker"]["head_image"]
    assert read.get_docker_config("worker")["image"].endswith("-gpu")


def test_workers_of_aws_hold_what_the_page_has_them_hold(aws):
    words = of("cluster.md", "semret", "semret", "index", "s3://bucket/photos", "--index", f"{SHARED}/index", *_GROWING)
    amounts, (_, most) = taken(words)
    worker = aws[0]["available_node_types"]["worker"]
    assert most <= worker["max_workers"] * fit(amounts, worker["resources"])


def test_on_aws_the_machine_mounts_and_the_container_is_given_it():
    assert not re.search(r"\b(mount|sudo)\b", " ".join(AWS["setup_commands"]))
    mounting = " ".join(AWS["initialization_commands"])
    (mounted,) = re.findall(r"sudo mount .* (\S+)$", "\n".join(AWS["initialization_commands"]), flags=re.M)
    assert f"--volume={mounted}:{mounted}" in AWS["docker"]["run_options"]
    assert f"mountpoint -q {mounted}" in mounting
    assert mounted == SHARED


def test_ray_takes_the_file_for_machines():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(MACHINES)
    validate_config(config)
    (kind,) = config["available_node_types"].values()
    # All from the start: Ray adds none by itself to such a cluster.
    assert kind["min_workers"] == kind["max_workers"] == len(MACHINES["provider"]["worker_ips"])
    head = next(line for line in MACHINES["head_start_ray_commands"] if "--head" in line)
    assert "RAY_enable_autoscaler_v2=0 ray start" in head
    assert "--num-cpus=0" in head

// Talks to the server: errors become one line, a busy server is asked again, a missing token is asked for.

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// `tell(what)` is called with what is going on. `form` is sent with its progress, `json` as it is.
export async function ask(path, { form, json, signal, tell = () => {}, as = "json" } = {}) {
  for (let tries = 0; ; tries++) {
    const answer = await send(path, { form, json, signal, tell, as });
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    if (answer.status === 401 && (await logIn())) continue;
    if (answer.status === 503 && tries < 5) {
      tell("The server is busy, waiting for a place");
      await sleep(answer.retry || 2);
      if (signal?.aborted) throw new DOMException("given up", "AbortError");
      continue;
    }
    throw new Problem(answer.body?.error ?? `the server answered with status ${answer.status}`, answer.status);
  }
}

function send(path, { form, json, signal, tell, as }) {
  return new Promise((resolve, reject) => {
    // Not fetch: it does not say how far an upload is.
    const request = new XMLHttpRequest();
    request.open(form || json ? "POST" : "GET", path);
    request.responseType = "blob";
    signal?.addEventListener("abort", () => request.abort());
    request.upload.onprogress = (event) => {
      if (form && event.lengthComputable && event.total > 300000)
        tell(`Sending the picture: ${Math.round((100 * event.loaded) / event.total)} %`);
    };
    request.upload.onload = () => tell(null);
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    request.onerror = () => reject(new Problem("the server cannot be reached; is it still running?", 0));
    request.onload = async () => {
      const { status } = request;
      const isJson = (request.getResponseHeader("Content-Type") ?? "").startsWith("application/json");
      const body = isJson ? JSON.parse(await request.response.text()) : as === "blob" ? request.response : null;
      resolve({ status, body, retry: Number(request.getResponseHeader("Retry-After")) });
    };
    if (json) request.setRequestHeader("Content-Type", "application/json");
    request.send(form ?? (json ? JSON.stringify(json) : null));
    if (signal?.aborted) request.abort();
  });
}

let asking = null;

function logIn() {
  asking ??= askForToken().finally(() => (asking = null));
  return asking;
}

async function askForToken() {
  // The address may bring it: after #, which browsers keep to themselves.
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) {
    history.replaceState(history.state, "", location.pathname + location.search);
    if (await tryToken(given)) return true;
  }
  const dialog = document.getElementById("login");
  const field = document.getElementById("token");
  const error = document.getElementById("login-error");
  for (;;) {
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (field.value === "") return false;
    const fits = await tryToken(field.value);
    field.value = "";
    error.textContent = fits ? "" : "This is not the token.";
    if (fits) return true;
  }
}

async function tryToken(token) {
  // Headers hold no other characters, and no token has any.
  if (!/^[\x21-\x7e]+$/.test(token)) return false;
  const answer = await fetch("api/login", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  return answer.ok;
}

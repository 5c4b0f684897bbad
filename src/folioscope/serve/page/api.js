// The server's routes: errors as Error with the server's own words, events as they come, the API key when it is wanted.

let key = sessionStorage.getItem("folioscope-key") || "";

export async function ask(path, options = {}) {
  const answer = await reach(path, options);
  if (answer.ok) return answer;
  if (answer.status === 401 && (await wantKey(key !== ""))) return ask(path, options);
  throw new Error(await reason(answer));
}

async function reach(path, options) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
}

async function reason(answer) {
  const wait = answer.headers.get("retry-after");
  try {
    const { error } = await answer.json();
    return error.message + (wait && answer.status === 429 ? ` (in ${wait} s)` : "");
  } catch {
    return `The server answers ${answer.status} ${answer.statusText}.`;
  }
}

function wantKey(again) {
  const dialog = document.getElementById("key");
  document.getElementById("wrong").hidden = !again;
  const secret = document.getElementById("secret");
  return new Promise((settle) => {
    dialog.addEventListener("close", () => {
      key = secret.value.trim();
      sessionStorage.setItem("folioscope-key", key);
      settle(dialog.returnValue === "ok" && key !== "");
    }, { once: true });
    dialog.showModal();
  });
}

// [name, data] of server-sent events
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const name = /^event: (.*)$/m.exec(part)?.[1] ?? "message";
      const data = /^data: (.*)$/m.exec(part)?.[1];
      if (data !== undefined) yield [name, JSON.parse(data)];
    }
  }
}

export function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined && value !== "") data.append(name, value);
  return data;
}

export async function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

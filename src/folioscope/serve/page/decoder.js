// Clicks in this browser, where the server gives its mask decoder away: the same masks, without the way to the server.

import { ask } from "./api.js";

const ALIKE = 0.9; // of the pixels in either mask, so many must be in both
const MOST_SCENES = 16; // in the worker at once

let worker = null;
let works = false; // from when the worker has its model on
const waiting = new Map(); // number → {settle, fail}
const given = new Map(); // scene id → promise that it is in the worker
let checked = null; // promise that its masks are the server's
let numbers = 0;

export const here = () => works;

// When the server offers its decoder; without one, or where it does not work, the server goes on cutting out
export async function start() {
  const begun = new Worker("page/decoder/worker.js", { type: "module" });
  begun.addEventListener("message", ({ data }) => settle(data));
  begun.addEventListener("error", (event) => { event.preventDefault(); stop(event.message || "the worker cannot be loaded"); });
  worker = begun;
  try {
    const model = await (await ask("v1/segment/decoder")).arrayBuffer();
    await tell("model", { model }, [model]);
    works = true;
  } catch (error) {
    stop(error.message);
  }
}

function stop(reason) {
  if (worker) console.warn(`Cutting out in this browser is off: ${reason}`);
  worker?.terminate();
  worker = null;
  works = false;
  for (const { fail } of waiting.values()) fail(new Error(reason));
  waiting.clear();
}

function tell(act, message, moved = []) {
  return new Promise((settled, fail) => {
    if (!worker) { fail(new Error("off")); return; }
    waiting.set(++numbers, { settled, fail });
    worker.postMessage({ number: numbers, act, ...message }, moved);
  });
}

// The mask of a prompt, its longer side at most `most` pixels; or null where this browser cannot make it
export async function cut(scene, prompt, served, most) {
  if (!works) return null;
  try {
    await load(scene.id);
    checked ??= check(scene, served).catch((error) => stop(error.message));
    await checked;
    return await tell("prompt", { scene: scene.id, ...prompt, most });
  } catch {
    return null; // the server says what is wrong, if anything is
  }
}

// The decoder may be another network's: does it cut out of the middle what the server does?
async function check(scene, served) {
  const prompt = { points: [scene.size.map((length) => length / 2)], labels: [1], multimask: false };
  const [ours, theirs] = await Promise.all([tell("prompt", { scene: scene.id, ...prompt }), served(scene, prompt)]);
  let [both, either] = [0, 0];
  ours.bits.forEach((bit, place) => { both += bit & theirs.bits[place]; either += bit | theirs.bits[place]; });
  if (both < ALIKE * either) throw new Error("its masks are not the server's; is mask_decoder.onnx of another segmenter?");
}

function settle({ number, answer, error }) {
  const { settled, fail } = waiting.get(number) ?? {};
  waiting.delete(number);
  if (error === undefined) settled?.(answer);
  else fail?.(new Error(error));
}

// Once for each: the embedding to the worker
function load(id) {
  if (!given.has(id)) {
    const loaded = ask(`v1/segment/embeddings/${id}`)
      .then((answer) => answer.arrayBuffer())
      .then((file) => tell("scene", { scene: id, file }, [file]));
    loaded.catch(() => given.delete(id));
    given.set(id, loaded);
    if (given.size > MOST_SCENES) forget(given.keys().next().value);
  }
  return given.get(id);
}

function forget(id) {
  given.delete(id);
  tell("forget", { scene: id }).catch(() => {});
}

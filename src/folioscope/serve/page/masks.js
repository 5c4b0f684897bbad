// Cutting out: prompts in pixels of the page, the server's masks, and the object saved with nothing around it.

import { ask, form } from "./api.js";
import * as decoder from "./decoder.js";

const COLOUR = new Uint32Array(new Uint8Array([36, 132, 255, 255]).buffer)[0];
const PREVIEW = 512; // pixels of the longer side of what is shown under the pointer

export class Cutting {
  // page: {number, size, picture: Blob promise}; shown(cutting) is called whenever something has changed
  constructor(page, shown) {
    Object.assign(this, { page, shown, points: [], labels: [], box: null, mask: null, history: [], scene: null, asked: 0, pointed: null, pointing: false, preview: null });
  }

  get empty() {
    return !this.points.length && !this.box;
  }

  embed() {
    this.scene ??= this.page.picture
      .then((picture) => ask("v1/segment/embeddings", { method: "POST", body: form({ file: picture }) }))
      .then((answer) => answer.json())
      .catch((error) => { this.scene = null; throw error; });
    return this.scene;
  }

  remember() {
    this.history.push({ points: [...this.points], labels: [...this.labels], box: this.box });
  }

  point(x, y, label) {
    if (!label && this.empty) return; // nothing to take away from
    this.remember();
    this.points.push([x, y]);
    this.labels.push(label);
    return this.cut();
  }

  frame(box) {
    this.remember();
    this.box = box;
    return this.cut();
  }

  undo() {
    Object.assign(this, this.history.pop() ?? {});
    return this.cut();
  }

  clear() {
    if (!this.empty) this.remember();
    Object.assign(this, { points: [], labels: [], box: null });
    return this.cut();
  }

  // What a click would cut out, while the pointer moves; null is that it has left
  async pointAt(place) {
    this.pointed = place;
    if (place && !this.pointing && !this.unseen) await this.follow();
    if (!this.pointed) this.showPreview(null);
  }

  async follow() {
    this.pointing = true;
    try {
      for (let at = null; this.empty && decoder.here() && this.pointed && this.pointed !== at;) {
        at = this.pointed;
        const scene = await this.embed();
        this.showPreview(await decoder.cut(scene, this.prompt(scene, [at], [1]), served, PREVIEW));
      }
    } catch (error) {
      this.unseen = true; // a picture that cannot be embedded is not sent again at every move
      throw error;
    } finally {
      this.pointing = false;
    }
  }

  showPreview(mask) {
    if (this.preview === mask) return;
    this.preview = mask;
    this.shown(this);
  }

  async cut() {
    const turn = ++this.asked;
    if (this.empty) this.mask = null;
    this.shown(this);
    if (this.empty) return;
    const scene = await this.embed();
    const begun = performance.now();
    const masks = await this.predict(scene).catch(async (error) => {
      if (!/not kept here/.test(error.message)) throw error;
      this.scene = null; // forgotten by the server: once more
      return this.predict(await this.embed());
    });
    if (turn !== this.asked) return; // a later click is on its way
    this.mask = masks;
    this.milliseconds = Math.round(performance.now() - begun);
    this.shown(this);
  }

  // In the pixels of what was embedded
  prompt(scene, points, labels, box) {
    const [across, down] = [scene.size[0] / this.page.size[0], scene.size[1] / this.page.size[1]];
    const scaled = ([x, y]) => [Math.min(x * across, scene.size[0] - 0.01), Math.min(y * down, scene.size[1] - 0.01)];
    const prompt = { multimask: points.length === 1 && !box }; // one click can mean several things
    if (points.length) Object.assign(prompt, { points: points.map(scaled), labels });
    if (box) prompt.box = [...scaled(box.slice(0, 2)), ...scaled(box.slice(2))];
    return prompt;
  }

  async predict(scene) {
    const prompt = this.prompt(scene, this.points, this.labels, this.box);
    const ours = await decoder.cut(scene, prompt, served);
    this.here = ours !== null;
    return ours ?? served(scene, prompt);
  }
}

// The server's mask of a prompt
export async function served(scene, prompt) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ scene: scene.id, ...prompt, only_best: true });
  const answer = await (await ask("v1/segment", { method: "POST", headers, body })).json();
  const [object] = answer.objects;
  const mask = object.masks[object.best];
  return { ...mask, size: answer.size, bits: bits(mask.rle) };
}

// COCO's compressed run lengths → one byte a pixel, down the columns
export function bits({ size: [height, width], counts }) {
  const out = new Uint8Array(width * height);
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let [value, shift, more] = [0, 0, true];
    while (more) {
      const letter = counts.charCodeAt(at++) - 48;
      value |= (letter & 31) << shift;
      shift += 5;
      more = (letter & 32) !== 0;
      if (!more && letter & 16) value |= -1 << shift;
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  let place = 0;
  runs.forEach((length, index) => {
    if (index % 2) out.fill(1, place, place + length);
    place += length;
  });
  return out;
}

export function paint(canvas, mask) {
  if (!mask) {
    canvas.width = canvas.height = 1;
    return;
  }
  const [width, height] = mask.size;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let x = 0, place = 0; x < width; x++) {
    for (let y = 0; y < height; y++, place++) if (mask.bits[place]) pixels[y * width + x] = COLOUR;
  }
  context.putImageData(picture, 0, 0);
}

export async function cutout(page, mask) {
  const [width, height] = mask.size;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(await createImageBitmap(await page.picture), 0, 0, width, height);
  const picture = context.getImageData(0, 0, width, height);
  for (let x = 0, place = 0; x < width; x++) {
    for (let y = 0; y < height; y++, place++) if (!mask.bits[place]) picture.data[4 * (y * width + x) + 3] = 0;
  }
  const [x1, y1, x2, y2] = mask.box ?? [0, 0, 1, 1];
  const cut = new OffscreenCanvas(x2 - x1, y2 - y1);
  cut.getContext("2d").putImageData(picture, -x1, -y1);
  return cut.convertToBlob({ type: "image/png" });
}

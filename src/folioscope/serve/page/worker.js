// SAM's mask decoder beside the page, so that the page stays quick. What the page asks: {number, model | scene, …}.

import * as runtime from "./ort.wasm.min.mjs";

runtime.env.wasm.numThreads = 1; // more of them need a page that is cut off from all others
runtime.env.logLevel = "error";

const BOX = [2, 3]; // labels of its two corners
const NOTHING = -1;

let session = null;
const scenes = new Map(); // id → {embedding, size: [width, height], side}

const acts = {
  async model({ model }) {
    session = await runtime.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  },

  scene({ scene, file }) {
    scenes.set(scene, parsed(file));
  },

  forget({ scene }) {
    scenes.delete(scene);
  },

  async prompt({ scene: id, points = [], labels = [], box, multimask, most }) {
    const scene = scenes.get(id);
    const [low, scores] = await decoded(scene, points, labels, box);
    const best = multimask ? 1 + largest(scores.data.slice(1)) : 0; // the first is for a prompt that is clear
    const side = low.dims[3];
    const logits = low.data.subarray(best * side * side, (best + 1) * side * side);
    return { ...enlarged(logits, side, scene, most), score: scores.data[best] };
  },
};

addEventListener("message", async ({ data: { number, act, ...asked } }) => {
  try {
    const answer = (await acts[act](asked)) ?? null;
    postMessage({ number, answer }, answer?.bits ? [answer.bits.buffer] : []);
  } catch (error) {
    postMessage({ number, error: String(error.message ?? error) });
  }
});

// A file of safetensors, as GET /v1/segment/embeddings/{id} gives it
function parsed(file) {
  const head = Number(new DataView(file).getBigUint64(0, true));
  const { __metadata__: notes, embedding } = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, head)));
  const [start, end] = embedding.data_offsets;
  const numbers = new Float32Array(file.slice(8 + head + start, 8 + head + end));
  return { embedding: new runtime.Tensor("float32", numbers, [1, ...embedding.shape]), ...JSON.parse(notes.frame) };
}

// Width and height of the picture where the longer side is `side`
function within({ size }, side) {
  return size.map((length) => Math.max(1, Math.floor(length * (side / Math.max(...size)) + 0.5)));
}

// low_res_masks (1, 4, s, s) and iou_predictions (1, 4)
async function decoded(scene, points, labels, box) {
  const scaled = within(scene, scene.side);
  const places = [...points, ...(box ? [box.slice(0, 2), box.slice(2)] : [[0, 0]])];
  const kinds = [...labels, ...(box ? BOX : [NOTHING])];
  const coordinates = places.flatMap((place) => place.map((value, axis) => (value * scaled[axis]) / scene.size[axis]));
  const side = 4 * scene.embedding.dims[3];
  const tensor = (numbers, ...dims) => new runtime.Tensor("float32", Float32Array.from(numbers), dims);
  const { low_res_masks: low, iou_predictions: scores } = await session.run({
    image_embeddings: scene.embedding,
    point_coords: tensor(coordinates, 1, places.length, 2),
    point_labels: tensor(kinds, 1, kinds.length),
    mask_input: new runtime.Tensor("float32", new Float32Array(side * side), [1, 1, side, side]),
    has_mask_input: tensor([0], 1),
    orig_im_size: tensor([...within(scene, 32)].reverse(), 2), // the masks that it enlarges itself are of no use here: all four
  });
  if (low.dims[1] !== 4) throw new Error("mask_decoder.onnx gives one mask; export it without --single-mask");
  return [low, scores];
}

const largest = (numbers) => numbers.indexOf(Math.max(...numbers));

// What the server does to logits: to the square, what the picture takes of it, and that to the picture's size; or, where
// `most` says how long its sides may be, to a smaller one. Down the columns, as COCO's run lengths are.
function enlarged(logits, side, scene, most = Infinity) {
  const longest = Math.max(...scene.size);
  const size = longest > most ? within(scene, most) : scene.size;
  const [across, down] = within(scene, scene.side).map((kept, axis) => taps(side, scene.side, kept, size[axis]));
  const columns = Array.from({ length: side }, (_, x) => stretched(logits, x, side, down));
  const [width, height] = size;
  const [bits, column] = [new Uint8Array(width * height), new Float32Array(height)];
  const found = { area: 0, left: width, top: height, right: 0, bottom: 0 };
  for (let x = 0; x < width; x++) {
    column.fill(0);
    across[x].forEach(([place, weight]) => add(column, columns[place], weight));
    mark(column, x, bits, found);
  }
  const box = found.area ? [found.left, found.top, found.right, found.bottom] : null;
  return { size, bits, box, area: found.area };
}

// Column x of the logits, as long as the picture is high
function stretched(logits, x, side, down) {
  const column = new Float32Array(down.length);
  for (let y = 0; y < column.length; y++) {
    for (const [place, weight] of down[y]) column[y] += weight * logits[place * side + x];
  }
  return column;
}

function add(column, other, weight) {
  for (let y = 0; y < column.length; y++) column[y] += weight * other[y];
}

// What of a column is on the object
function mark(column, x, bits, found) {
  const start = x * column.length;
  let [top, bottom, area] = [column.length, 0, 0];
  for (let y = 0; y < column.length; y++) {
    if (column[y] > 0) {
      bits[start + y] = 1;
      area++;
      if (!bottom) top = y;
      bottom = y + 1;
    }
  }
  if (!area) return;
  found.area += area;
  Object.assign(found, { left: Math.min(found.left, x), right: x + 1, top: Math.min(found.top, top), bottom: Math.max(found.bottom, bottom) });
}

// Of each place on a line of `to` pixels, [place, weight] of the `from` logits that it is made of: bilinear to `side`
// pixels, and bilinear again from the first `kept` of those
function taps(from, side, kept, to) {
  const first = bilinear(from, side);
  return bilinear(kept, to).map((pair) => {
    const shares = new Map(); // neighbours share what they are made of
    for (const [middle, share] of pair) for (const [place, part] of first[middle]) shares.set(place, (shares.get(place) ?? 0) + share * part);
    return [...shares].filter(([, weight]) => weight !== 0);
  });
}

// PyTorch's, without aligned corners: [place, weight] of the two neighbours of each
function bilinear(from, to) {
  return Array.from({ length: to }, (_, at) => {
    const place = Math.max(((at + 0.5) * from) / to - 0.5, 0);
    const low = Math.min(Math.floor(place), from - 1);
    return [[low, 1 - (place - low)], [Math.min(low + 1, from - 1), place - low]];
  });
}

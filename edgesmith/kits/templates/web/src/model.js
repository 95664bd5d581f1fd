// The model in the browser: open it once, run pictures or arrays, and get the milliseconds of each part of a frame.

import * as ort from 'onnxruntime-web';
import { fetched } from './arrays.js';
import { preprocessor } from './preprocess.js';

/** WebGPU where there is an adapter, but for integer models: their operators are WebAssembly's. */
async function backends(wanted, precision) {
  if (wanted !== 'auto') return [wanted];
  const adapter = precision === 'int8' ? null : await navigator.gpu?.requestAdapter().catch(() => null);
  return adapter ? ['webgpu', 'wasm'] : ['wasm'];
}

/**
 * base: where kit.json lies. backend: 'auto', 'wasm' or 'webgpu'. threads: of WebAssembly; more than one needs a page
 * that is cross-origin isolated.
 */
export async function openModel({ base, backend = 'auto', threads } = {}) {
  const root = new URL(base ?? '../model/', base ? document.baseURI : import.meta.url);
  const facts = await (await fetched(new URL('kit.json', root))).json();
  const cores = Math.min(4, navigator.hardwareConcurrency ?? 1);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? (threads ?? cores) : 1;
  const executionProviders = await backends(backend, facts.precision);
  const session = await ort.InferenceSession.create(new URL(facts.model, root).href, { executionProviders });
  return new Model(facts, root, session, executionProviders[0]);
}

export class Model {
  #session;
  #prepare;
  #canvas = new OffscreenCanvas(1, 1);

  constructor(facts, root, session, backend) {
    this.facts = facts;
    this.root = root;
    this.backend = backend;
    this.#session = session;
    this.#prepare = facts.preprocessing && preprocessor(facts.preprocessing);
  }

  /** One picture: a Blob, <video>, <img>, <canvas> or ImageBitmap. Returns { outputs, classes, timing }. */
  async run(source) {
    if (!this.#prepare) throw new Error('this model takes no pictures; feed it arrays with runArrays');
    const clock = new Clock();
    const pixels = await this.#decode(source);
    clock.lap('decode');
    const input = this.#prepare(pixels.data, 4, pixels.width, pixels.height);
    clock.lap('preprocess');
    const [spec] = this.facts.inputs;
    const [{ size }, channels] = [this.facts.preprocessing.resize, input.length];
    const shape = [1, channels / (size[0] * size[1]), ...size];
    const outputs = await this.#infer({ [spec.name]: { data: input, shape, dtype: 'float32' } }, clock);
    const classes = this.#classes(outputs);
    clock.lap('postprocess');
    return { outputs, classes, timing: clock.parts };
  }

  /** Arrays by input name, { data, shape, dtype }. Returns the outputs' data by name and the timing. */
  async runArrays(feed) {
    const clock = new Clock();
    return { outputs: await this.#infer(feed, clock), timing: clock.parts };
  }

  /** What the page would do to a picture of RGB bytes. */
  prepare(rgb, width, height) {
    return this.#prepare(rgb, 3, width, height);
  }

  async close() {
    await this.#session.release();
  }

  async #infer(feed, clock) {
    const tensors = {};
    for (const [name, { data, shape, dtype }] of Object.entries(feed)) tensors[name] = new ort.Tensor(dtype, data, shape);
    clock.lap('copy');
    const found = await this.#session.run(tensors);
    clock.lap('run');
    const outputs = {};
    for (const { name } of this.facts.outputs) outputs[name] = await found[name].getData();
    clock.lap('copy');
    return outputs;
  }

  async #decode(source) {
    // No colour management and no alpha: the bytes of the file, as a decoder gives them elsewhere.
    const options = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
    const bitmap = await createImageBitmap(source, options);
    this.#canvas.width = bitmap.width;
    this.#canvas.height = bitmap.height;
    const context = this.#canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** The five best classes with their softmax shares, if the first output has one value a label. */
  #classes(outputs) {
    const scores = Array.from(outputs[this.facts.outputs[0].name], Number);
    const { labels } = this.facts;
    if (!labels.length || scores.length !== labels.length) return [];
    const top = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - top));
    const sum = shares.reduce((a, b) => a + b, 0);
    const ranked = shares.map((share, i) => ({ label: labels[i], share: share / sum }));
    return ranked.sort((a, b) => b.share - a.share).slice(0, 5);
  }
}

class Clock {
  #last = performance.now();
  parts = {};

  lap(name) {
    const now = performance.now();
    this.parts[name] = (this.parts[name] ?? 0) + now - this.#last;
    this.#last = now;
  }
}

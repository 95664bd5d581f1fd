// The demo page. Labels and file names come from outside: they are shown as text, never as HTML.

import { bench } from './bench.js';
import { openModel } from './model.js';
import { selfTest } from './selftest.js';

const $ = (id) => document.getElementById(id);
const say = (text) => ($('status').textContent = text);
const query = new URLSearchParams(location.search);
let last; // the picture shown last

function fill(table, rows) {
  const body = $(table).tBodies[0];
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement('tr');
    for (const cell of cells) row.insertCell().textContent = cell;
    return row;
  }));
  $(table).hidden = rows.length === 0;
}

async function show(model, source) {
  const { outputs, classes, timing } = await model.run(source);
  const best = classes.map(({ label, share }) => [label, `${(100 * share).toFixed(1)} %`]);
  const raw = Object.entries(outputs).map(([name, data]) => [name, Array.from(data.slice(0, 6), Number).join(' ')]);
  fill('classes', best.length ? best : raw);
  fill('timing', Object.entries(timing).map(([part, ms]) => [part, ms.toFixed(2)]));
  return timing;
}

async function picked(model, blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = $('shown');
  [canvas.width, canvas.height, canvas.hidden] = [bitmap.width, bitmap.height, false];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
  last = blob;
  $('bench').disabled = false;
  await show(model, blob);
}

async function camera(model) {
  const video = $('video');
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  video.hidden = false;
  await video.play();
  const frame = async () => {
    await show(model, video);
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
}

function guarded(work) {
  return async (event) => {
    try {
      await work(event);
    } catch (error) {
      say(`${error.name}: ${error.message}`);
    }
  };
}

async function start() {
  const model = await openModel({ base: 'model/', backend: query.get('backend') ?? 'auto' });
  const result = await selfTest(model);
  const passed = result.passed ? 'passed' : 'FAILED';
  say(`${model.facts.target} on ${model.backend}: self-test ${passed}`);
  fill('selftest', result.rows.map((r) => [r.name, r.difference.toExponential(2), r.allowed.toExponential(2)]));
  if (model.facts.preprocessing) {
    $('pictures').hidden = false;
    $('file').addEventListener('change', guarded((event) => picked(model, event.target.files[0])));
    $('camera').addEventListener('click', guarded(() => camera(model)));
    $('bench').addEventListener('click', guarded(async () => {
      const parts = Object.entries(await bench(model, last));
      fill('timing', parts.map(([part, q]) => [part, `${q.p50.toFixed(2)} (p90 ${q.p90.toFixed(2)})`]));
    }));
  }
  document.documentElement.dataset.selftest = passed;
}

guarded(start)();

// The same questions on every device: does preprocessing give the same input, does the model give PyTorch's answers?

import { maxDifference, readArray } from './arrays.js';

/** Returns { passed, rows: [{ name, difference, allowed, passed }], timing }; it never throws for a wrong answer. */
export async function selfTest(model) {
  const { facts, root } = model;
  const rows = [];
  const judge = (name, difference, allowed) => rows.push({ name, difference, allowed, passed: difference <= allowed });
  if (facts.picture) {
    const [height, width] = facts.picture.shape;
    const found = model.prepare(await readArray(root, facts.picture), width, height);
    judge('preprocessing', maxDifference(found, await readArray(root, facts.prepared)), facts.prepared.allowed);
  }
  const feed = {};
  for (const one of facts.feed) feed[one.name] = { data: await readArray(root, one), shape: one.shape, dtype: one.dtype };
  const { outputs, timing } = await model.runArrays(feed);
  for (const one of facts.reference) {
    judge(`output ${one.name}`, maxDifference(outputs[one.name], await readArray(root, one)), one.allowed);
  }
  return { passed: rows.length > 0 && rows.every((row) => row.passed), backend: model.backend, rows, timing };
}

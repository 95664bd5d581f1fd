// The golden arrays of kit.json: little-endian values in C order.

const TYPES = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
};

export async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer;
}

export async function readArray(base, { file, dtype }) {
  return new TYPES[dtype](await (await fetched(new URL(file, base))).arrayBuffer());
}

/** The largest absolute difference; NaN or a wrong length is infinitely far. */
export function maxDifference(found, wanted) {
  if (found.length !== wanted.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const difference = Math.abs(Number(found[i]) - Number(wanted[i]));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference;
  }
  return worst;
}

// From pixels to the model's input, bit for bit as edgesmith does it: the bilinear resize of Pillow in 8-bit integers
// (rows first; Pillow 13 does columns first where they shrink much more, which is one level of 255 in some pixels), then (x / 255 - mean) / std from a table of 256 float32 values a channel.

const BITS = 22; // of the fixed-point weights: 255 * 2^22 still fits a 32-bit integer
const LUMA = [0.299, 0.587, 0.114].map(Math.fround);

/** Where each output pixel looks and how much each input pixel weighs; wider when shrinking, so that it antialiases. */
function windows(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const all = [];
  for (let place = 0; place < to; place++) {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) {
      const distance = Math.abs((i + first - center + 0.5) * (1 / support));
      weights[i] = distance < 1 ? 1 - distance : 0;
      sum += weights[i];
    }
    const share = 1 / sum;
    all.push({ first, weights: Int32Array.from(weights, (w) => Math.trunc(0.5 + w * share * 2 ** BITS)) });
  }
  return all;
}

const clip = (sum) => Math.min(255, Math.max(0, sum >> BITS));

/** Rows first, then columns. `pixels`: `stride` bytes a pixel (3 for RGB, 4 for a canvas). Returns RGB bytes. */
function resize(pixels, stride, width, height, toWidth, toHeight) {
  const across = windows(width, toWidth);
  const narrow = new Uint8Array(height * toWidth * 3);
  for (let y = 0, out = 0; y < height; y++) {
    for (const { first, weights } of across) {
      for (let c = 0; c < 3; c++) {
        let sum = 1 << (BITS - 1);
        let at = (y * width + first) * stride + c;
        for (let i = 0; i < weights.length; i++, at += stride) sum += pixels[at] * weights[i];
        narrow[out++] = clip(sum);
      }
    }
  }
  const row = toWidth * 3;
  const result = new Uint8Array(toHeight * row);
  windows(height, toHeight).forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 1 << (BITS - 1);
      for (let i = 0; i < weights.length; i++) sum += narrow[(first + i) * row + x] * weights[i];
      result[y * row + x] = clip(sum);
    }
  });
  return result;
}

function rgbOf(pixels, stride) {
  if (stride === 3) return pixels;
  const rgb = new Uint8Array((pixels.length / 4) * 3);
  for (let i = 0, o = 0; i < pixels.length; i += 4) {
    rgb[o++] = pixels[i];
    rgb[o++] = pixels[i + 1];
    rgb[o++] = pixels[i + 2];
  }
  return rgb;
}

function normalised(value, mean, std) {
  const centred = Math.fround(value - Math.fround(mean));
  return Math.fround(centred / Math.fround(std));
}

/** A function pixels -> Float32Array (1, C, H, W), its tables made once. */
export function preprocessor({ resize: { size }, color, mean, std }) {
  const [height, width] = size;
  const plane = height * width;
  const unit = Float32Array.from({ length: 256 }, (_, i) => Math.fround(i / 255));
  const tables = mean.map((m, c) => unit.map((value) => normalised(value, m, std[c])));
  const order = color === 'bgr' ? [2, 1, 0] : [0, 1, 2];
  return (pixels, stride, fromWidth, fromHeight) => {
    const same = fromWidth === width && fromHeight === height;
    const rgb = same ? rgbOf(pixels, stride) : resize(pixels, stride, fromWidth, fromHeight, width, height);
    if (color === 'gray') {
      return Float32Array.from({ length: plane }, (_, i) => {
        const luma = order.reduce((sum, c) => Math.fround(sum + Math.fround(unit[rgb[3 * i + c]] * LUMA[c])), 0);
        return normalised(luma, mean[0], std[0]);
      });
    }
    const input = new Float32Array(3 * plane);
    order.forEach((from, c) => {
      for (let i = 0; i < plane; i++) input[c * plane + i] = tables[c][rgb[3 * i + from]];
    });
    return input;
  };
}

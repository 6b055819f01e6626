// Sparklines: one minute of a row's prices, a value for each half second.

export const BUCKET_MS = 500, BUCKETS = 120;

export const noSamples = () => ({ samples: new Float64Array(BUCKETS).fill(NaN), bucket: 0, cut: true, drawn: -1 });

/** One value per half second; a silence is filled with the last price, a cut is left open. */
export function sample(row, now) {
  const bucket = Math.floor(now / BUCKET_MS);
  const skipped = Math.min(BUCKETS, bucket - row.bucket);
  const filler = row.cut ? NaN : row.samples[row.bucket % BUCKETS];
  for (let i = 1; i < skipped; i++) row.samples[(bucket - i) % BUCKETS] = filler;
  row.samples[bucket % BUCKETS] = row.mid;
  row.bucket = Math.max(row.bucket, bucket); row.cut = false;
}

/** Draws it as of `now`, in these colours. */
export function drawSpark(row, time, colours) {
  const { canvas } = row.ui, ratio = Math.min(3, devicePixelRatio || 1);
  if (!canvas.width) { canvas.width = Math.round(canvas.clientWidth * ratio); canvas.height = Math.round(canvas.clientHeight * ratio); }
  const { width, height } = canvas, pad = 2 * ratio, now = Math.floor(time / BUCKET_MS);
  let low = Infinity, high = -Infinity, first = NaN;
  const oldest = Math.max(now - BUCKETS + 1, row.bucket - BUCKETS + 1);
  for (let b = oldest; b <= row.bucket; b++) {
    const value = row.samples[b % BUCKETS];
    if (value !== value) continue;
    if (first !== first) first = value;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const pen = canvas.getContext('2d');
  pen.clearRect(0, 0, width, height);
  if (low > high) return;
  const scale = high > low ? (height - 2 * pad) / (high - low) : 0;
  pen.beginPath();
  let drawing = false;
  for (let b = oldest; b <= row.bucket; b++) {
    const value = row.samples[b % BUCKETS];
    if (value !== value) { drawing = false; continue; }
    const x = width - (now - b) * width / BUCKETS - ratio, y = scale ? height - pad - (value - low) * scale : height / 2;
    if (drawing) pen.lineTo(x, y); else pen.moveTo(x, y);
    drawing = true;
  }
  pen.lineWidth = 1.4 * ratio; pen.lineJoin = 'round';
  pen.strokeStyle = row.mid > first ? colours.up : row.mid < first ? colours.down : colours.spark;
  pen.stroke();
}

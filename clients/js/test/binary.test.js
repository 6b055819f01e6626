import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BinaryReader } from '../tickcast-bin.js';

const { connections, bad } = JSON.parse(readFileSync(new URL('../../../docs/binary-vectors.json', import.meta.url)));
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex')).buffer;
const read = (reader, frame) => (frame.binary !== undefined ? reader.read(bytes(frame.binary)) : [frame.text]);

for (const { name, frames, messages } of connections) {
  test(`vector: ${name}`, () => {
    const reader = new BinaryReader();
    assert.deepEqual(frames.flatMap((frame) => read(reader, frame)), messages);
  });
}

for (const { name, frames } of bad) {
  test(`refused: ${name}`, () => {
    const reader = new BinaryReader();
    for (const frame of frames.slice(0, -1)) read(reader, frame);
    assert.throws(() => read(reader, frames.at(-1)));
  });
}

test('no bytes do anything but be read or be refused', () => {
  let seed = 1;
  const next = () => (seed = (seed * 48271) % 2147483647);
  let refused = 0;
  const good = [...new Uint8Array(bytes(connections[0].frames[0].binary))];
  for (let i = 0; i < 20000; i++) {
    const reader = new BinaryReader(), frame = good.slice();
    for (let j = next() % 4; j >= 0; j--) frame[next() % frame.length] = next() % 256;
    frame.length = next() % 3 ? frame.length : next() % frame.length;
    try { reader.read(Uint8Array.from(frame).buffer); } catch (error) { assert.ok(error instanceof Error); refused++; }
  }
  assert.ok(refused > 1000 && refused < 20000);
});

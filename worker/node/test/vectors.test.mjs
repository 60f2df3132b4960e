// The golden vectors of docs/vectors, held against the library.

import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import {setTimeout as pause} from 'node:timers/promises';
import {CommandError, Raw} from '../index.js';
import {EVENT, READY, serve} from './peer.mjs';

const wire = createRequire(import.meta.url)('../lib/wire.cjs');
const {Core} = createRequire(import.meta.url)('../lib/core.cjs');
const load = (name) => JSON.parse(fs.readFileSync(new URL(`../../../docs/vectors/${name}`, import.meta.url)));
const hex = (text) => Buffer.from(text, 'hex');

test('frames', () => {
  for (const v of load('frames.json')) {
    const b = hex(v.hex);
    const f = wire.parse(b);
    assert.equal(f.size, b.length, v.about);
    for (const field of ['type', 'flags', 'id', 'arg', 'nfds', 'codec', 'name']) assert.equal(f[field], v[field], `${v.about}: ${field}`);
    assert.equal(f.payload.toString('hex'), v.payload, v.about);
    assert.deepEqual(wire.encode(f), b, v.about);
    assert.equal(Boolean(wire.SHAPES[v.type]), v.type_name !== '');
    for (let i = 0; i < b.length; i++) assert.equal(wire.parse(b.subarray(0, i)), null, v.about);
  }
});

test('breaches', () => {
  for (const v of load('breaches.json')) {
    assert.throws(() => wire.parse(hex(v.hex)), (e) => e instanceof wire.ProtocolError && e.rule === v.rule && e.offset === v.at, v.about);
  }
});

test('breaches, a byte at a time', () => {
  const hello = wire.encode({type: wire.HELLO, codec: wire.JSON, payload: Buffer.from('{}')});
  for (const v of load('breaches.json')) {
    const core = new Core({}, new Map(), {maxInflight: 64, maxMessage: wire.MAX_MESSAGE, sdk: ''});
    core.receive(hello);
    assert.throws(() => { for (const byte of hex(v.hex)) core.receive(Buffer.from([byte])); },
      (e) => e.rule === v.rule && e.offset === v.at + hello.length, v.about);
  }
});

const commands = {
  echo(call) {
    try {
      return call.args.join(' ');
    } catch {
      return new Raw(call.payload, call.codec);
    }
  },
  sleep: (call) => pause({'1h': 3600000, '300ms': 300}[call.args[0]], '', {signal: call.signal}),
  fail(call) { throw new CommandError('asked', call.args.join(' ')); },
  async* count(call) { for (let i = 1; i <= Number(call.args[0]); i++) yield `${i}\n`; },
};

for (const session of load('sessions.json')) {
  test(`session ${session.name}`, async (t) => {
    const {peer, done} = await serve(t, commands, {greet: false});
    const said = async () => {
      for (;;) {
        const f = await peer.frame();
        if (!f || (f.type !== READY && f.type !== EVENT)) return f;
      }
    };
    for (const step of session.steps) {
      if (step.expect) {
        const f = await said();
        assert.ok(f, 'the connection ended');
        for (const field of ['type', 'id', 'name', 'arg', 'flags', 'codec']) if (field in step.expect) assert.equal(f[field], step.expect[field], field);
        if ('payload' in step.expect) assert.equal(f.payload.toString('hex'), step.expect.payload);
        for (const [key, value] of Object.entries(step.expect.json ?? {})) assert.deepEqual(JSON.parse(f.payload)[key], value);
      } else if (step.ends) {
        assert.equal(await said(), null);
        const error = await done;
        if (!step.ends.rule) assert.equal(error, null);
        else assert.deepEqual([error.rule, error.offset], [step.ends.rule, step.ends.at ?? 0], String(error));
      } else if (step.close) {
        peer.socket.destroy();
        assert.equal(await done, null);
      } else {
        const b = hex(step.send);
        for (let i = 0; i < (step.times ?? 1); i++) {
          for (const part of step.bytewise ? [...b].map((c) => Buffer.from([c])) : [b]) peer.socket.write(part);
        }
      }
    }
  });
}

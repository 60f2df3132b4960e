// The supervisor's end of a worker in this process. Frames are made and read by
// hand, so that the library is not measured with its own ruler.

import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import fs from 'node:fs';
import {once} from 'node:events';
import {Worker} from '../index.js';

export const [HELLO, READY, PING, PONG, CALL, DATA, RESULT, ERROR, CANCEL, WINDOW, EVENT, DRAIN, RETIRE] = Array.from({length: 13}, (_, i) => i + 1);
export const MORE = 1, JSON_ = 1, TEXT = 2, CHUNK = 65536;

export function pack(type, {id = 0, arg = 0, codec = 0, name = '', payload = '', flags = 0, nfds = 0} = {}) {
  payload = Buffer.from(payload);
  const b = Buffer.alloc(20);
  b.set([0xBD, 1, type, flags]);
  b.writeUInt32BE(name.length + payload.length, 4);
  b.writeUInt32BE(id, 8);
  b.writeUInt32BE(arg, 12);
  b.writeUInt16BE(name.length, 16);
  b.set([nfds, codec], 18);
  return Buffer.concat([b, Buffer.from(name, 'latin1'), payload]);
}

export const GREETING = pack(HELLO, {codec: JSON_, payload: '{"protocol":[1,1],"worker":"web/2","generation":7}'});

export class Peer {
  constructor(socket) {
    this.socket = socket;
    this.held = Buffer.alloc(0);
    this.over = false;
    this.waiting = null;
    socket.on('data', (d) => { this.held = Buffer.concat([this.held, d]); this.wake(); });
    for (const end of ['end', 'close', 'error']) socket.on(end, () => { this.over = true; this.wake(); });
  }

  wake() {
    this.waiting?.();
    this.waiting = null;
  }

  send(type, fields) { this.socket.write(pack(type, fields)); }

  call(id, name, ...words) { this.send(CALL, {id, name, codec: JSON_, payload: JSON.stringify(words)}); }

  // The next frame; null at the end of the connection.
  async frame() {
    for (;;) {
      const b = this.held;
      if (b.length >= 20 && b.length >= 20 + b.readUInt32BE(4)) {
        const size = 20 + b.readUInt32BE(4), nlen = b.readUInt16BE(16);
        this.held = b.subarray(size);
        return {type: b[2], flags: b[3], id: b.readUInt32BE(8), arg: b.readUInt32BE(12), codec: b[19],
          name: b.toString('latin1', 20, 20 + nlen), payload: b.subarray(20 + nlen, size)};
      }
      if (this.over) return null;
      await new Promise((resolve) => { this.waiting = resolve; });
    }
  }

  async expect(type, id) {
    const f = await this.frame();
    if (!f || f.type !== type || (id !== undefined && f.id !== id)) {
      throw new Error(`want type ${type} ${id ?? ''}, got ${f && `${f.type} ${f.id} ${f.name} ${f.payload.subarray(0, 200)}`}`);
    }
    return f;
  }

  async alive(arg = 77) {
    this.send(PING, {arg});
    const f = await this.expect(PONG);
    if (f.arg !== arg) throw new Error(`PONG ${f.arg} for PING ${arg}`);
    return f.payload.length ? JSON.parse(f.payload) : {};
  }

  async failure(id) {
    const f = await this.expect(ERROR, id);
    return [f.name, JSON.parse(f.payload).started];
  }
}

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'bn'));
process.on('exit', () => fs.rmSync(dir, {recursive: true}));
let n = 0;

// A worker that is not yet running, and its peer.
export async function pair(options) {
  const server = net.createServer().listen(path.join(dir, String(n++)));
  await once(server, 'listening');
  const connected = once(server, 'connection');
  const socket = net.connect(server.address());
  const [theirs] = await connected;
  server.close();
  return [new Worker({socket, ...options}), new Peer(theirs)];
}

// One that runs; done is what became of run.
export async function serve(t, commands, {greet = true, ...options} = {}) {
  const [w, peer] = await pair(options);
  for (const [name, run] of Object.entries(commands)) w.command(name, run);
  const done = w.run().then(() => null, (e) => e);
  t.after(async () => {
    peer.socket.destroy();
    await done;
  });
  peer.hello = JSON.parse((await peer.expect(HELLO)).payload);
  if (greet) {
    await peer.expect(READY);
    peer.socket.write(GREETING);
  }
  return {w, peer, done};
}

'use strict';
// Frames: 20 bytes of header, then the name, then the payload. docs/protocol.md is the specification.

const MAGIC = 0xBD, VERSION = 1, HEADER = 20;
const HELLO = 1, READY = 2, PING = 3, PONG = 4, CALL = 5, DATA = 6, RESULT = 7;
const ERROR = 8, CANCEL = 9, WINDOW = 10, EVENT = 11, DRAIN = 12, RETIRE = 13;
const MORE = 1, MUST = 2; // flags
const BYTES = 0, JSON_ = 1, TEXT = 2; // codecs
const CHUNK = 64 << 10; // bytes of a frame's body that every end accepts
const MAX_MESSAGE = 16 << 20;
const MAX_NAME = 255, MAX_FDS = 16;
const CREDIT = 256 << 10; // bytes of DATA that may be on their way when a call begins
const MAX_CREDIT = 0x7FFFFFFF;
const FD_COST = 4 << 10; // of credit, for each descriptor

// What a frame of a known type may have; from says who alone may send it. Other
// types are skipped, or refused if they have MUST.
const SHAPES = [];
SHAPES[HELLO] = {payload: true, json: true};
SHAPES[READY] = {from: 'worker'};
SHAPES[PING] = {arg: true};
SHAPES[PONG] = {arg: true, payload: true, json: true};
SHAPES[CALL] = {call: true, name: true, payload: true, arg: true, more: true, fds: true};
SHAPES[DATA] = {call: true, name: true, payload: true, fds: true};
SHAPES[RESULT] = {call: true, payload: true, more: true, fds: true};
SHAPES[ERROR] = {call: true, name: true, payload: true, json: true};
SHAPES[CANCEL] = {call: true};
SHAPES[WINDOW] = {call: true, arg: true};
SHAPES[EVENT] = {from: 'worker', name: true, payload: true};
SHAPES[DRAIN] = {from: 'supervisor', arg: true};
SHAPES[RETIRE] = {from: 'worker', name: true, payload: true, json: true};

/** The peer broke a rule of docs/protocol.md; offset counts from its first byte. */
class ProtocolError extends Error {
  constructor(rule, offset, detail) {
    super(detail);
    this.name = 'ProtocolError';
    this.rule = rule;
    this.offset = offset;
  }

  toString() { return `protocol violation at byte ${this.offset}: rule ${this.rule}: ${this.message}`; }
}

function broke(rule, offset, detail) { throw new ProtocolError(rule, offset, detail); }

const EMPTY = Buffer.alloc(0);

/** One frame's bytes. */
function encode({type, id = 0, arg = 0, codec = BYTES, name = '', payload = EMPTY, flags = 0, nfds = 0}) {
  const length = name.length + payload.length;
  const b = Buffer.allocUnsafe(HEADER + length);
  b[0] = MAGIC;
  b[1] = VERSION;
  b[2] = type;
  b[3] = flags;
  b.writeUInt32BE(length, 4);
  b.writeUInt32BE(id, 8);
  b.writeUInt32BE(arg, 12);
  b.writeUInt16BE(name.length, 16);
  b[18] = nfds;
  b[19] = codec;
  if (name) b.latin1Write(name, HEADER);
  if (payload.length) b.set(payload, HEADER + name.length);
  return b;
}

/**
 * The frame at b[at:], with its size; null if it is not whole yet. Throws
 * ProtocolError with the offset within the frame. The length is checked as soon as
 * the header is there. name and payload are views of b.
 */
function parse(b, at = 0, chunk = CHUNK) {
  const have = b.length - at;
  if (have > 0 && b[at] !== MAGIC) broke('magic', 0, `a frame starts with 0xBD, got 0x${b[at].toString(16)}`);
  if (have > 1 && b[at + 1] !== VERSION) broke('version', 1, `only version 1 is spoken here, got ${b[at + 1]}`);
  if (have < HEADER) return null;
  const type = b[at + 2], flags = b[at + 3], length = b.readUInt32BE(at + 4), id = b.readUInt32BE(at + 8);
  const arg = b.readUInt32BE(at + 12), nlen = b.readUInt16BE(at + 16), nfds = b[at + 18], codec = b[at + 19];
  if (flags > (MORE | MUST)) broke('flags', 3, `unknown flag bits in ${flags}`);
  if (length > chunk) broke('length', 4, `a frame of ${length} bytes, at most ${chunk} are accepted`);
  if (nlen > length || nlen > MAX_NAME) broke('nlen', 16, `a name of ${nlen} bytes in a body of ${length}`);
  if (nfds > MAX_FDS) broke('nfds', 18, `${nfds} descriptors on one frame, at most ${MAX_FDS} are accepted`);
  const shape = SHAPES[type];
  if (shape) check(shape, type, flags, length, id, arg, nlen, nfds, codec);
  else if (flags & MUST) broke('must', 2, `type ${type} is not known here and says it must be`);
  const size = HEADER + length;
  if (have < size) return null;
  const body = at + HEADER;
  let name = '';
  if (nlen) {
    for (let i = 0; i < nlen; i++) {
      const c = b[body + i];
      if (c < 0x21 || c > 0x7E) broke('name', HEADER + i, `a name is printable ASCII, got 0x${c.toString(16)}`);
    }
    name = b.latin1Slice(body, body + nlen);
  }
  return {type, flags, id, arg, nfds, codec, name, payload: length > nlen ? b.subarray(body + nlen, at + size) : EMPTY, size};
}

// check holds the header of a known type against what the type may have.
function check(shape, type, flags, length, id, arg, nlen, nfds, codec) {
  if (!shape.call !== (id === 0)) broke('id', 8, `type ${type} with id ${id}`);
  if (nlen && !shape.name) broke('name', 16, `type ${type} takes no name`);
  if (length > nlen && !shape.payload) broke('payload', 4, `type ${type} takes no payload`);
  if (arg && !shape.arg) broke('arg', 12, `type ${type} takes no arg, got ${arg}`);
  if (flags & MORE && !shape.more) broke('more', 3, `type ${type} fits one frame`);
  if (nfds && !shape.fds) broke('nfds', 18, `type ${type} takes no descriptors`);
  if (type === WINDOW && (arg === 0 || arg > MAX_CREDIT)) broke('window', 12, `WINDOW grants 1 to ${MAX_CREDIT} bytes, got ${arg}`);
  if (codec > TEXT) broke('codec', 19, `unknown codec ${codec}`);
  if (shape.json && length > nlen && codec !== JSON_) broke('codec', 19, `type ${type} carries JSON`);
  if (length > CHUNK && (type === HELLO || type === DATA)) broke('length', 4, `type ${type} of ${length} bytes`);
}

/** Whether s is a name: 1 to 255 bytes of printable ASCII without spaces. */
function validName(s) { return typeof s === 'string' && /^[!-~]{1,255}$/.test(s); }

/** What a DATA takes of its call's credit. */
function cost(name, payload, nfds = 0) { return HEADER + name.length + payload.length + FD_COST * nfds; }

module.exports = {
  MAGIC, VERSION, HEADER, HELLO, READY, PING, PONG, CALL, DATA, RESULT, ERROR, CANCEL, WINDOW, EVENT, DRAIN, RETIRE, MORE, MUST,
  BYTES, JSON: JSON_, TEXT, CHUNK, MAX_MESSAGE, CREDIT, MAX_CREDIT, SHAPES, ProtocolError, EMPTY, encode, parse, validName, cost, broke,
};

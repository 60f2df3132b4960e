'use strict';
// What a program returns, sends and throws, as codec and bytes.

const {BYTES, JSON: JSON_, TEXT, CHUNK, EMPTY, validName} = require('./wire.cjs');

/**
 * A command failed, with a code (a name) that programs can read. Thrown by a
 * command it is the answer; thrown by Worker.call it is what the supervisor said, or
 * `lost`, `timeout`, `canceled`, `overloaded`. started is "yes", "no" or "unknown".
 */
class CommandError extends Error {
  constructor(code = 'error', message = '', details = undefined, started = 'yes') {
    super(message);
    if (!validName(code)) throw new TypeError(`an error code is 1 to 255 printable ASCII characters without spaces, got ${code}`);
    this.name = 'CommandError';
    this.code = code;
    this.details = details;
    this.started = started;
  }
}

/** A payload with a codec of its own: bytes, json or text. */
class Raw {
  constructor(payload, codec) {
    this.payload = payload;
    this.codec = codecNumber(codec);
  }
}

const CODECS = ['bytes', 'json', 'text'];

function codecNumber(codec) {
  const n = CODECS.indexOf(codec);
  if (n < 0) throw new TypeError(`codec ${codec} is none of bytes, json and text`);
  return n;
}

/** What a program returned or sent as [codec, bytes]. */
function payloadOf(value) {
  if (value === undefined || value === null) return [BYTES, EMPTY];
  if (typeof value === 'string') return [TEXT, Buffer.from(value)];
  if (value instanceof Raw) return [value.codec, asBuffer(value.payload)];
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) return [BYTES, asBuffer(value)];
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} can't be said in JSON`);
  return [JSON_, Buffer.from(text)];
}

function asBuffer(b) {
  if (typeof b === 'string') return Buffer.from(b);
  return b instanceof ArrayBuffer ? Buffer.from(b) : Buffer.from(b.buffer, b.byteOffset, b.byteLength);
}

function textOf(codec, payload) {
  if (codec === JSON_) {
    try {
      const value = JSON.parse(payload.toString());
      if (typeof value === 'string') return value;
    } catch { /* it is no JSON; the text is what it is */ }
  }
  return payload.toString();
}

/** An answer or a piece of one that came. */
class Message {
  constructor(codec, payload, name = '') {
    this.codec = CODECS[codec];
    this.payload = payload;
    this.name = name;
  }

  get text() { return textOf(CODECS.indexOf(this.codec), this.payload); }

  json() { return JSON.parse(this.payload.toString()); }
}

/** The payload of an ERROR, with what does not fit left out. */
function errorPayload(code, message, started, details) {
  const body = {message: String(message).slice(0, 8192), started};
  if (details !== undefined) {
    try {
      const full = Buffer.from(JSON.stringify({...body, details}));
      if (full.length + code.length <= CHUNK) return full;
    } catch { /* it can't be said in JSON */ }
  }
  return Buffer.from(JSON.stringify(body));
}

module.exports = {CommandError, Raw, Message, CODECS, payloadOf, textOf, errorPayload};

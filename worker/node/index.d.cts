/// <reference types="node" />
import type {Socket} from 'node:net';

export type Codec = 'bytes' | 'json' | 'text';

/** What a program may answer or send: undefined and null are empty, a string is text, bytes are bytes, a Raw is as it says, anything else is sent as JSON. */
export type Value = unknown;

export type Command = (call: Call) => Value | Promise<Value> | AsyncGenerator<Value, Value, void>;

/** A command to answer, as it came. */
export class Call {
  private constructor();
  readonly command: string;
  readonly payload: Buffer;
  readonly codec: Codec;
  /** The words after the command's name. Throws if the payload is no JSON list of strings. */
  readonly args: string[];
  /** The payload as a string; a JSON string is the string itself. */
  readonly text: string;
  json(): any;
  /** Aborted when the caller gave up, the time is up, or the connection is gone. */
  readonly signal: AbortSignal;
  readonly canceled: boolean;
  /** Milliseconds until the caller's time is up; Infinity: there is no limit. */
  timeLeft(): number;
  /** Send a piece of the answer, or with a name something beside it. Waits while the caller is slow. */
  send(value: Value, name?: string): Promise<void>;
  progress(done: number, total?: number, text?: string): Promise<void>;
}

/** Yielded by a command that is an async generator: how far it is. */
export class Progress {
  constructor(done: number, total?: number, text?: string);
  readonly done: number;
  readonly total: number;
  readonly text: string;
}

/** A payload with a codec of its own. */
export class Raw {
  constructor(payload: Uint8Array | string, codec: Codec);
}

/** An answer, or a piece of one, that came. */
export class Message {
  readonly name: string;
  readonly codec: Codec;
  readonly payload: Buffer;
  readonly text: string;
  json(): any;
}

/** A command failed. Thrown by a command it is the answer; a call of the worker's own rejects with it. */
export class CommandError extends Error {
  constructor(code?: string, message?: string, details?: unknown, started?: 'yes' | 'no' | 'unknown');
  readonly code: string;
  readonly details: unknown;
  readonly started: string;
}

/** This process was not started as a worker by a brood supervisor. */
export class NotSupervised extends Error {}

/** The supervisor broke a rule of docs/protocol.md; offset counts from its first byte. */
export class ProtocolError extends Error {
  readonly rule: string;
  readonly offset: number;
}

export interface WorkerOptions {
  /** Calls at work at once, 64; more are answered `overloaded`. */
  maxInflight?: number;
  /** Bytes accepted of one message, at least and by default 16 MiB. */
  maxMessage?: number;
  /** Instead of what BROOD_FD names. */
  socket?: Socket;
}

export interface CallOptions {
  /** Milliseconds, as timeLeft says: Infinity, the default, is no limit, and with 0 the time is up already. */
  timeout?: number;
  signal?: AbortSignal;
  /** Is given each piece of a streamed answer, one at a time. Without it they are put in front of the answer. */
  piece?: (piece: Message) => void | Promise<void>;
}

/** This process as a worker. */
export class Worker {
  constructor(options?: WorkerOptions);
  /** web/2 */
  readonly name: string;
  readonly generation: number;
  readonly draining: boolean;
  command(name: string, run: Command): this;
  command(name: string, help: string, run: Command): this;
  start(): void;
  ready(): void;
  run(): Promise<void>;
  main(): Promise<never>;
  drain(): void;
  onDrain(listener: () => void): void;
  status(text: string): boolean;
  event(name: string, value?: Value): boolean;
  beat(): void;
  retire(reason: string, text?: string): void;
  call(command: string, value?: Value, options?: CallOptions): Promise<Message>;
}

export function attach(environ?: NodeJS.ProcessEnv): Socket;
/** Descriptors of the listening sockets that the configuration names, by name: server.listen({fd}). */
export function listeners(environ?: NodeJS.ProcessEnv): Record<string, number>;
export const version: string;

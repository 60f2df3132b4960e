import lib from './lib/worker.cjs';

export const {Worker, Call, CommandError, Raw, Progress, Message, NotSupervised, ProtocolError, attach, listeners, version} = lib;

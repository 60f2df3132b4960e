// What import finds is what require finds, and so are its types.
export * from './index.cjs';

// A process that opens a store, and closes it at once or at SIGTERM. It does not call process.exit.
import { open } from '../../dist/src/index.js';

const { wait, ...options } = JSON.parse(process.argv[2] ?? '{}');
try {
  const store = await open(options);
  process.on('SIGUSR2', () => console.log('alive'));
  const told = new Promise((done) => process.once('SIGTERM', done));
  console.log('opened');
  if (wait) await told;
  await store.close();
  console.log('closed');
} catch (error) {
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}

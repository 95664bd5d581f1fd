// Opens selftest.html in headless Chromium and prints what it found, as JSON. Exit code 0 if it passed.
// --bench times frames too; --backend=wasm|webgpu chooses.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve } from '../serve.mjs';

const LIMIT_MS = 120_000;
const PLACES = ['/usr/bin/chromium', '/usr/bin/google-chrome', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];
const chromium = process.env.CHROMIUM ?? PLACES.find(existsSync);
if (!chromium) {
  console.error('no Chromium found: set CHROMIUM to its path');
  process.exit(3);
}

const backend = process.argv.find((word) => word.startsWith('--backend='))?.slice('--backend='.length) ?? 'auto';
const profile = mkdtempSync(join(tmpdir(), 'selftest-'));
let browser;
const result = await new Promise(async (resolve) => {
  const server = await serve(0, resolve);
  const query = new URLSearchParams({ report: '1', backend });
  if (process.argv.includes('--bench')) query.set('bench', '1');
  const page = `http://127.0.0.1:${server.address().port}/selftest.html?${query}`;
  const flags = ['--headless', '--no-sandbox', '--no-first-run', '--disable-background-networking', '--disable-sync'];
  browser = spawn(chromium, [...flags, `--user-data-dir=${profile}`, page], { stdio: 'ignore', detached: true });
  browser.on('exit', (code) => resolve({ passed: false, error: `the browser ended with ${code}` }));
  setTimeout(() => resolve({ passed: false, error: `no answer in ${LIMIT_MS / 1000} s` }), LIMIT_MS);
});
console.log(JSON.stringify(result, null, 1));
browser.removeAllListeners('exit');
if (browser.exitCode === null) {
  process.kill(-browser.pid, 'SIGKILL'); // with its helpers: it leads a process group of its own
  await new Promise((resolve) => browser.on('exit', resolve));
}
rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
process.exit(result.passed ? 0 : 1);

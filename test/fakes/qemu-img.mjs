#!/usr/bin/env node
/** Stands in for qemu-img: `measure` says FAKE_REQUIRED, `convert` writes FAKE_CONTENT to the descriptor it was handed, or fails with FAKE_ERROR. */
import { existsSync, readdirSync, writeSync } from 'node:fs'

const { FAKE_REQUIRED = '100', FAKE_CONTENT = '', FAKE_ERROR, FAKE_SEEN = '' } = process.env
const [verb, ...rest] = process.argv.slice(2)
if (verb === 'measure') process.stdout.write(JSON.stringify({ required: Number(FAKE_REQUIRED), 'fully-allocated': 1 }))
if (verb === 'convert') {
  const seen = existsSync(FAKE_SEEN) ? readdirSync(FAKE_SEEN).length : 0
  writeSync(3, `${FAKE_CONTENT}${String(seen)} ${rest.at(-2) ?? ''}`)
  if (FAKE_ERROR) {
    process.stderr.write(FAKE_ERROR)
    process.exitCode = 1
  }
}

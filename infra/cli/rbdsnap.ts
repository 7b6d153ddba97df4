#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { sqlite } from '../../shared/adapters/sqlite.ts'
import { readRules } from '../../shared/config.ts'
import { Failure, failures, type FailureCode } from '../../shared/failures.ts'
import { view } from '../../shared/view.ts'
import { runBridge } from '../bridge/main.ts'
import { demo } from './demo.ts'
import { doctor } from './doctor.ts'
import { readEvents } from './event-files.ts'
import { explainBody, tagEpochs } from './explain.ts'
import { formats, printList, printOne, tell, type Format, type Output } from './output.ts'
import { parked } from './parked.ts'
import { replay } from './replay.ts'
import { retry } from './retry.ts'
import { journalPath, openSession } from './session.ts'
import { siteSettings } from './site.ts'
import { wholeStatus } from './status.ts'
import { unwind } from './unwind.ts'

/** The command line: openstackclient's manners. Data on stdout, everything else on stderr; exit 0, 1 for a failure, 2 for usage. */
const usage = `usage: rbdsnap <command> [options]

  demo                         the whole pipeline on an embedded cloud: every road, every fault, a table at the end
  up                           keep the stack running over RBDSNAP_DATA_DIR until interrupted: on the cloud of OS_AUTH_URL or
                               OS_CLOUD, with the settings of docs/operate.md; without either on an embedded cloud
  bridge                       from Nova's RabbitMQ to the first queue, until interrupted; a part of \`up\`
  replay FILE|FOLDER...        send notifications through the pipeline and say what became of each wish
         --dry-run             only say what would happen
  explain FILE|FOLDER...       which rule, which run, why or why not; touches nothing
  run list                     the newest runs   --limit N
  run show RUN|IMAGE           one run with its timeline
  run retry RUN|IMAGE          let a parked run go on where it stopped; the sweep sends it within a minute
  run unwind RUN|IMAGE         take back what a run made, parked or not, while its image is not active; the sweep sends it
  parked list                  notifications and messages that could not be read or served   --limit N
  parked show|drop ID          what is kept of one; let it go
  status                       health, runs, frozen guests, parked messages
  doctor                       can everything be reached, with rights enough, in the same cluster? changes nothing
  error [CODE]                 what a code means and what to do

  -f, --format table|json|yaml|value     -c, --column NAME (may be repeated)
  RBDSNAP_DATA_DIR holds queue, journal, logs and the embedded cloud; without it a fresh folder is used and removed.
  replay uses the stack that runs over RBDSNAP_DATA_DIR, whatever cloud it works on; else it starts one on an embedded cloud.`

const runColumns = [
  'run',
  'instance',
  'trigger',
  'outcome',
  'consistency',
  'road',
  'frozen_ms',
  'usable_ms',
  'image_id',
  'code',
  'reason',
]

interface Command {
  args: string[]
  output: Output
  dryRun: boolean
  limit: number
}

const commands: Record<string, (command: Command) => Promise<number>> = {
  async demo({ output }) {
    return demo(output)
  },

  async up() {
    if (!process.env['RBDSNAP_DATA_DIR']) throw new Failure('BAD_REQUEST', 'RBDSNAP_DATA_DIR is not set.')
    const site = siteSettings(process.env)
    const session = await openSession(site ? { site } : {})
    if (!session.own) throw new Failure('BAD_REQUEST', `a stack is running over ${session.dataDir} already.`)
    const cloud = site ? `on the cloud at ${session.env['OS_AUTH_URL'] ?? ''}` : 'on an embedded cloud'
    tell(`up over ${session.dataDir}, ${cloud}; status at ${session.own.statusUrl}; end with Ctrl-C`)
    await new Promise<void>((resolve) => {
      process.once('SIGINT', resolve)
      process.once('SIGTERM', resolve)
    })
    await session.close()
    return 0
  },

  async bridge() {
    await runBridge(process.env)
    return 0
  },

  async replay({ args, output, dryRun }) {
    const events = readEvents(need(args, 'a file or folder'))
    if (dryRun) return explainAll(events, output)
    // The stack reads all settings at once and says all that is wrong with them; the rules are among them.
    const session = await openSession()
    try {
      const rules = readRules(process.env['RBDSNAP_RULES'])
      if (session.controlUrl === null)
        tell(
          `a real cloud, ${session.env['OS_AUTH_URL'] ?? ''}: what these ${events.length} notifications ask for is done there`,
        )
      const runs = await replay(events, session, rules)
      printList(
        runs.map((r) => ({ ...r })),
        runColumns,
        output,
      )
      return runs.some((r) => r.outcome === 'parked') ? 1 : 0
    } finally {
      await session.close()
    }
  },

  async explain({ args, output }) {
    return explainAll(readEvents(need(args, 'a file or folder')), output)
  },

  async run({ args, output, limit }) {
    const [verb, id] = args
    const path = needJournal()
    const { journal, close } = sqlite(path)
    try {
      if (verb === 'list') {
        const runs = (await journal.list(limit)).map((r) => ({ ...view(r) }))
        printList(runs, ['run', 'instance', 'trigger', 'state', 'step', ...runColumns.slice(3)], output)
        return 0
      }
      if (!isVerbOfOne(verb) || id === undefined) {
        throw new Failure('BAD_REQUEST', 'say `run list`, or `run show`, `run retry` or `run unwind` with RUN|IMAGE.')
      }
      const record = await journal.byRunOrImage(id.toLowerCase())
      if (!record) throw new Failure('BAD_REQUEST', `the journal ${path} has no run or image ${id}.`)
      if (verb === 'retry') await retry(record, journal, Date.now())
      if (verb === 'unwind') await unwind(record, journal, Date.now())
      const { steps, ...run } = view((await journal.find(record.wish.instance, record.wish.run)) ?? record)
      if (output.format !== 'table') printOne({ ...run, steps }, output)
      else {
        printOne(run, output)
        printList(steps, ['step', 'started_at', 'took_ms', 'tries', 'outcome', 'code', 'words'], {
          ...output,
          columns: [],
        })
      }
      return 0
    } finally {
      close()
    }
  },

  async parked({ args, output, limit }) {
    const { journal, close } = sqlite(needJournal())
    try {
      return await parked(args, limit, journal, output)
    } finally {
      close()
    }
  },

  async status({ output }) {
    const { journal, leases, close } = sqlite(needJournal())
    try {
      const status = await wholeStatus(journal, leases, process.env)
      printOne({ ...status }, output)
      return status.health === 'HEALTH_ERR' ? 1 : 0
    } finally {
      close()
    }
  },

  async doctor({ output }) {
    return doctor(process.env, output)
  },

  async error({ args: [code], output }) {
    const rows = Object.entries(failures).map(([name, row]) => ({ code: name as FailureCode, ...row }))
    if (code === undefined) {
      printList(rows, ['code', 'kind', 'says'], output)
      return Promise.resolve(0)
    }
    const found = rows.find((row) => row.code === code.toUpperCase())
    if (!found) throw new Failure('BAD_REQUEST', `there is no code ${code}; \`rbdsnap error\` lists them.`)
    printOne(found, output)
    return Promise.resolve(0)
  },
}

function isVerbOfOne(verb: string | undefined): verb is 'show' | 'retry' | 'unwind' {
  return verb === 'show' || verb === 'retry' || verb === 'unwind'
}

async function explainAll(events: ReturnType<typeof readEvents>, output: Output): Promise<number> {
  const rules = readRules(process.env['RBDSNAP_RULES'])
  const path = journalPath()
  const epochs = tagEpochs(path !== null && existsSync(path) ? path : null)
  const explained = (await Promise.all(events.map((e) => explainBody(e.path, e.body, rules, epochs)))).flat()
  const [only] = explained
  if (only && explained.length === 1) printOne({ ...only }, output)
  else
    printList(
      explained.map((e) => ({ ...e })),
      ['file', 'event_type', 'format', 'decision', 'rule', 'run', 'reason'],
      output,
    )
  for (const { file, reason } of explained.filter((e) => e.decision === 'park'))
    say(new Failure('BAD_NOTIFICATION', `${file}: ${reason}`))
  return explained.some((e) => e.decision === 'park') ? 1 : 0
}

function need(args: string[], what: string): string[] {
  if (args.length === 0) throw new Failure('BAD_REQUEST', `${what} is missing.`)
  return args
}

function needJournal(): string {
  const path = journalPath()
  if (path === null)
    throw new Failure('BAD_SETTING', 'RBDSNAP_DATA_DIR or RBDSNAP_JOURNAL must say where the journal is.')
  if (!existsSync(path)) throw new Failure('BAD_SETTING', `there is no journal at ${path} yet.`)
  return path
}

function say(failure: Failure): void {
  tell(`error: ${failure.message}\n  what to do: ${failures[failure.code].remedy}`)
}

async function main(argv: string[]): Promise<number> {
  const parsed = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      format: { type: 'string', short: 'f', default: 'table' },
      column: { type: 'string', short: 'c', multiple: true, default: [] },
      limit: { type: 'string', default: '20' },
      'dry-run': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const { values, positionals } = parsed
  const [name, ...args] = positionals
  if (values.help || name === undefined) {
    process.stdout.write(`${usage}\n`)
    return values.help ? 0 : 2
  }
  const command = commands[name]
  if (!command || !Object.hasOwn(commands, name)) throw new Failure('BAD_REQUEST', `there is no command ${name}.`)
  const format = values.format as Format
  if (!formats.includes(format))
    throw new Failure('BAD_REQUEST', `-f ${values.format}: say one of ${formats.join(', ')}.`)
  const limit = Number(values.limit)
  if (!Number.isInteger(limit) || limit < 1)
    throw new Failure('BAD_REQUEST', `--limit ${values.limit}: say a whole number.`)
  return command({ args, output: { format, columns: values.column }, dryRun: values['dry-run'], limit })
}

/** What went wrong, on stderr; the exit status says whether it was how the command was typed. */
function report(error: unknown): number {
  if (error instanceof Failure) {
    say(error)
    return error.code === 'BAD_REQUEST' ? 2 : 1
  }
  if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
    say(new Failure('BAD_REQUEST', error.message))
    return 2
  }
  tell(error instanceof Error ? (error.stack ?? error.message) : String(error))
  return 1
}

process.exitCode = await main(process.argv.slice(2)).catch(report)

import { stringify } from 'yaml'
import { Failure } from '../../shared/failures.ts'

/** Data on stdout, in openstackclient's formats; nothing else ever goes there. */
export const formats = ['table', 'json', 'yaml', 'value'] as const
export type Format = (typeof formats)[number]

/** A cell may hold anything that JSON holds; tables and values show it as text. */
export type Row = Record<string, unknown>

export interface Output {
  format: Format
  /** only these, in this order; empty: all of them in JSON and YAML, `preferred` in a table */
  columns: string[]
}

export function printList(rows: Row[], preferred: string[], { format, columns }: Output): void {
  const chosen = columns.length > 0 ? rows.map((row) => pick(row, columns)) : rows
  if (format === 'json') return write(JSON.stringify(chosen, null, 2))
  if (format === 'yaml') return write(stringify(chosen).trimEnd())
  const names = columns.length > 0 ? columns : preferred
  const cells = rows.map((row) => names.map((name) => cell(row[name])))
  if (format === 'value') return cells.forEach((line) => write(line.join(' ')))
  write(
    table(
      names,
      cells.map((line) => line.map(shorten)),
    ),
  )
}

/** A list is read line by line; the whole text is in `-f json` and in `show`. */
const widestCell = 72
function shorten(text: string): string {
  return text.length > widestCell ? `${text.slice(0, widestCell - 3)}...` : text
}

export function printOne(row: Row, { format, columns }: Output): void {
  const chosen = columns.length > 0 ? pick(row, columns) : row
  if (format === 'json') return write(JSON.stringify(chosen, null, 2))
  if (format === 'yaml') return write(stringify(chosen).trimEnd())
  if (format === 'value') return Object.values(chosen).forEach((value) => write(cell(value)))
  write(
    table(
      ['field', 'value'],
      Object.entries(chosen).map(([name, value]) => [name, cell(value)]),
    ),
  )
}

/** For whoever watches, never for a program: stderr. */
export function tell(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Only worth a line while somebody looks. */
export function progress(line: string): void {
  if (process.stderr.isTTY) tell(line)
}

function write(text: string): void {
  process.stdout.write(`${text}\n`)
}

function pick(row: Row, columns: string[]): Row {
  const unknown = columns.filter((name) => !(name in row))
  if (unknown.length > 0)
    throw new Failure('BAD_REQUEST', `no column ${unknown.join(', ')}; there are: ${Object.keys(row).join(', ')}.`)
  return Object.fromEntries(columns.map((name) => [name, row[name]]))
}

/** Nothing that a tenant named may steer a terminal or break a line. */
function cell(value: unknown): string {
  if (value === null || value === undefined) return '-'
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // eslint-disable-next-line no-control-regex -- control characters are what is removed
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ')
}

function table(names: string[], rows: string[][]): string {
  const widths = names.map((name, i) => Math.max(name.length, ...rows.map((row) => (row[i] ?? '').length)))
  const line = `+${widths.map((w) => '-'.repeat(w + 2)).join('+')}+`
  const show = (cells: string[]) => `|${cells.map((text, i) => ` ${text.padEnd(widths[i] ?? 0)} `).join('|')}|`
  return [line, show(names), line, ...rows.map(show), ...(rows.length > 0 ? [line] : [])].join('\n')
}

import { besides, pipeline, type UndoName } from '../../shared/pipeline.ts'
import type { RunStep } from '../../shared/run.ts'

/**
 * The pipeline drawn from its table, for docs/architecture.md. `node infra/check/diagram.ts` prints it;
 * test/agree/architecture.test.ts fails when the page shows anything else.
 */
interface Row {
  next: readonly RunStep[]
  divert: RunStep | null
  undo: UndoName | null
  givesUp: 'unwind' | 'park'
}
const rows: [RunStep, Row][] = Object.entries(pipeline).map(([step, row]) => [step as RunStep, row])

export function diagram(): string {
  const back = rows.filter(([, row]) => row.givesUp === 'unwind')
  const forward = rows.filter(([step, row]) => row.givesUp === 'park' && step !== 'unwind')
  return [
    '```mermaid',
    'flowchart TD',
    '  bus([a notification of Nova]) --> ingest',
    '  ingest --> quiesce',
    '  ingest -. turned away .-> unwind',
    ...group('back', 'until the image is active: everything can be undone', back),
    ...group('forward', 'from here only forward', forward),
    ...rows.flatMap(([step, row]) => edges(step, row)),
    ...Object.keys(besides)
      .filter((name) => name !== 'ingest')
      .map((name) => `  ${name}[/${name}/]`),
    '  quiesce -. armed before the freeze .-> thaw',
    '  sweep -. sends again what was lost .-> back',
    '```',
  ].join('\n')
}

function group(id: string, title: string, members: [RunStep, Row][]): string[] {
  return [`  subgraph ${id}["${title}"]`, ...members.map(([step, row]) => `    ${node(step, row)}`), '  end']
}

function node(step: RunStep, { undo }: Row): string {
  return undo === null ? step : `${step}["${step}<br/>undo: ${undo}"]`
}

function edges(step: RunStep, { next, divert, givesUp }: Row): string[] {
  const end = step === 'unwind' ? 'nothing([nothing left, and why])' : 'active([image active, nothing temporary left])'
  return [
    ...next.map((to) =>
      step === 'unwind' ? `  unwind -- the image is active after all --> ${to}` : `  ${step} --> ${to}`,
    ),
    ...(next.every((to) => to === step) || step === 'unwind' ? [`  ${step} --> ${end}`] : []),
    ...(divert === null ? [] : [`  ${step} -- RBD cannot --> ${divert}`]),
    givesUp === 'unwind'
      ? `  ${step} -. gives up .-> unwind`
      : `  ${step} -. gives up .-> parked([parked: a person decides])`,
  ]
}

if (import.meta.main) console.log(diagram())

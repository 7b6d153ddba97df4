import { expect, it } from 'vitest'
import { scenarios } from '../support/scenarios.ts'
import { casesAt, casesOf, runWith, type Case } from './cases.ts'

/** Two faults in one run that ended badly once (`npm run test:pairs`), by their names: the numbers of pairs change with the scenarios. */
const scenarioOf = (name: string) => {
  const found = scenarios.find((scenario) => scenario.name === name)
  if (!found) throw new Error(`there is no scenario ${name}`)
  return found
}
const named = (cases: Case[], name: string) => {
  const found = cases.find((one) => one.name.endsWith(`/${name}`))
  if (!found) throw new Error(`there is no case ${name}`)
  return found
}

it.each([
  // asleep in the renewal that was due in the middle of a removal, whose look had not been asked for yet
  ['no locations: an upload', 'fallback/volumes.find#0/pause after', 'fallback/journal.save#1/sleep after'],
])('%s: %s, then %s', async (name, first, second) => {
  const scenario = scenarioOf(name)
  const one = named(await casesOf(scenario), first)
  const { calls } = await runWith(scenario, new Map([[one.index, one.way]]))
  const two = named(casesAt(scenario, calls, one.index + 1), second)
  const broken = new Map([one, two].map(({ index, way }) => [index, way]))
  expect((await runWith(scenario, broken)).wrong).toEqual([])
})

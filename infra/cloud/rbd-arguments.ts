/** What is wrong with a command line: `rbd` says it and exits with EINVAL. */
export class Usage extends Error {}

export interface RbdArguments {
  words: string[]
  conf: string
  format: string
  showProgress: boolean
  /** of `children` those in the trash too, of `snap ls` in JSON those of other namespaces */
  all: boolean
  features: string[]
}
export interface RbdSpec {
  pool: string
  image: string
  snap: string
}

const valued: Record<string, string> = {
  '--conf': 'conf',
  '-c': 'conf',
  '--id': 'id',
  '--user': 'id',
  '-n': 'name',
  '--name': 'name',
  '-k': 'keyring',
  '--keyring': 'keyring',
  '--cluster': 'cluster',
  '--format': 'format',
  '--image-feature': 'feature',
}

/**
 * Options may stand anywhere, with a blank or `=` before their value. Users and keys are taken and not asked for:
 * there is no cephx here.
 */
export function parseArguments(given: readonly string[]): RbdArguments {
  const words: string[] = []
  const values: Record<string, string[]> = {}
  let showProgress = true
  let all = false
  for (let at = 0; at < given.length; at += 1) {
    const argument = given[at] ?? ''
    const [option = '', inline] = argument.startsWith('--') ? argument.split(/=(.*)/s) : [argument]
    const name = valued[option]
    if (option === '--no-progress') showProgress = false
    else if (argument === '--all' || argument === '-a') all = true
    else if (name !== undefined) {
      const value = inline ?? given[(at += 1)]
      if (value === undefined) throw new Usage(`the required argument for option '${option}' is missing`)
      values[name] = [...(values[name] ?? []), value]
    } else if (argument.startsWith('-') && argument !== '-') throw new Usage(`unrecognised option '${argument}'`)
    else words.push(argument)
  }
  return {
    words,
    conf: values['conf']?.at(-1) ?? '/etc/ceph/ceph.conf',
    format: values['format']?.at(-1) ?? 'plain',
    showProgress,
    all,
    features: (values['feature'] ?? []).flatMap((list) => list.split(',')),
  }
}

/** `pool/image@snap`; `rbd` is the pool of a spec that names none. */
export function parseSpec(spec: string | undefined, snap: 'required' | 'allowed' | 'none'): RbdSpec {
  if (spec === undefined || spec === '') throw new Usage('image name was not specified')
  const found = /^(?:([^/@]+)\/)?([^/@]+)(?:@([^/@]+))?$/.exec(spec)
  if (!found) throw new Usage(`invalid spec '${spec}'`)
  const [, pool = 'rbd', image = '', snapName = ''] = found
  if (snap === 'required' && snapName === '') throw new Usage('snapshot name was not specified')
  if (snap === 'none' && snapName !== '') throw new Usage("snapshot name specified for a command that doesn't use it")
  return { pool, image, snap: snapName }
}

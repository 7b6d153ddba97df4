/**
 * qemu-guest-agent's wire protocol (QEMU 7.2): JSON objects in both directions, one client at a time on a byte stream.
 * What an earlier client left half sent stays in the stream, hence guest-sync-delimited and its 0xFF.
 */
export interface AgentGuest {
  isFrozen: () => boolean
  /** gives the number of file systems; throws when it cannot */
  freeze: () => number
  thaw: () => number
  /** somebody asked for a freeze while frozen */
  refused: () => void
}

const commands = [
  'guest-sync-delimited',
  'guest-sync',
  'guest-ping',
  'guest-info',
  'guest-fsfreeze-status',
  'guest-fsfreeze-freeze',
  'guest-fsfreeze-thaw',
]
/** qga/main.c `ga_freeze_allowlist`: a frozen agent must not write, so it refuses everything else */
const allowedWhileFrozen = new Set(commands.filter((name) => name !== 'guest-fsfreeze-freeze'))

const delimiter = 0xff

export function agentParser(guest: AgentGuest) {
  let pending = Buffer.alloc(0)

  function answer(text: string): Buffer {
    let command: unknown
    try {
      command = JSON.parse(text)
    } catch {
      return failure('GenericError', 'JSON parse error, invalid syntax')
    }
    const { execute, arguments: given } = command as { execute?: unknown; arguments?: { id?: unknown } }
    if (typeof execute !== 'string') return failure('GenericError', "QMP input lacks member 'execute'")
    if (!commands.includes(execute)) return failure('CommandNotFound', `The command ${execute} has not been found`)
    if (guest.isFrozen() && !allowedWhileFrozen.has(execute)) {
      guest.refused()
      return failure('CommandNotFound', `Command ${execute} has been disabled: the agent is in frozen state`)
    }
    return run(execute, given?.id)
  }

  function run(name: string, id: unknown): Buffer {
    switch (name) {
      case 'guest-sync':
      case 'guest-sync-delimited': {
        if (!Number.isInteger(id)) return failure('GenericError', "Parameter 'id' is missing")
        const head = name === 'guest-sync' ? Buffer.alloc(0) : Buffer.from([delimiter])
        return Buffer.concat([head, line({ return: id })])
      }
      case 'guest-ping':
        return line({ return: {} })
      case 'guest-info':
        return line({ return: { version: '7.2.0', supported_commands: commands.map(shownCommand) } })
      case 'guest-fsfreeze-status':
        return line({ return: guest.isFrozen() ? 'frozen' : 'thawed' })
      case 'guest-fsfreeze-freeze':
        return line({ return: guest.freeze() })
      default:
        return line({ return: guest.thaw() })
    }
  }

  /** A client ends its command with a newline, but a whole object is enough for the agent. */
  function takeCommands(): string[] {
    const text = pending.toString()
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    const isWhole = rest.trim() !== '' && isJson(rest)
    pending = isWhole ? Buffer.alloc(0) : Buffer.from(rest)
    return [...lines, ...(isWhole ? [rest] : [])].filter((candidate) => candidate.trim() !== '')
  }

  return {
    /** What the agent answers to these bytes, command by command. */
    *feed(bytes: Buffer): Generator<Buffer> {
      pending = Buffer.concat([pending, bytes])
      const cut = pending.lastIndexOf(delimiter)
      if (cut >= 0) {
        const isTorn = pending.subarray(0, cut).toString().trim() !== ''
        pending = pending.subarray(cut + 1)
        if (isTorn) yield failure('GenericError', 'JSON parse error, stray 0xFF')
      }
      for (const command of takeCommands()) yield answer(command)
    },
  }
}

const line = (value: unknown) => Buffer.from(`${JSON.stringify(value)}\n`)
const failure = (name: string, words: string) => line({ error: { class: name, desc: words } })
const shownCommand = (name: string) => ({ enabled: true, name, 'success-response': true })

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

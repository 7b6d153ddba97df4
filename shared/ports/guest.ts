/** The file systems inside a guest. `thaw` is idempotent and always allowed. */
export interface Guest {
  /** QUIESCE_UNAVAILABLE when there is no agent; GUEST_UNREACHABLE when it does not answer in time. Frozen already is success. */
  freeze(instance: string, signal: AbortSignal): Promise<void>
  thaw(instance: string, signal: AbortSignal): Promise<void>
  /** `unknown` when the way to the guest cannot tell */
  state(instance: string, signal: AbortSignal): Promise<'frozen' | 'thawed' | 'unknown'>
}

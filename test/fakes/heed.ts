import { Failure } from '../../shared/failures.ts'

/** Every call of a port ends with its caller: the signal, which is its last argument. */
export function heeding<T extends object>(port: T): T {
  return new Proxy(port, {
    get(of, name) {
      const method: unknown = of[name as keyof T]
      if (typeof method !== 'function') return method
      return async (...args: unknown[]): Promise<unknown> => {
        const signal = args.at(-1)
        if (signal instanceof AbortSignal && signal.aborted) throw new Failure('TIMEOUT', 'the caller gave up')
        return (await method.apply(of, args)) as unknown
      }
    },
  })
}

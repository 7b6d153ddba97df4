/** RBD's feature bits, in the order in which every tool lists them. */
const bits = {
  layering: 1,
  striping: 2,
  'exclusive-lock': 4,
  'object-map': 8,
  'fast-diff': 16,
  'deep-flatten': 32,
  journaling: 64,
  'data-pool': 128,
  operations: 256,
} as const
type Feature = keyof typeof bits

/** rbd_default_features of Ceph 16.2 (61) */
export const defaultFeatures: Feature[] = ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten']

/** An unknown name is dropped silently, as the dashboard's format_features() does. */
export function featureMask(names: readonly string[]): number {
  return Object.entries(bits).reduce((mask, [name, bit]) => (names.includes(name) ? mask | bit : mask), 0)
}

export function featureNames(mask: number): string[] {
  return Object.entries(bits).flatMap(([name, bit]) => (mask & bit ? [name] : []))
}

export function hasFeature(mask: number, name: Feature): boolean {
  return (mask & bits[name]) !== 0
}

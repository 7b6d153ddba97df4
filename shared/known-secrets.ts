/**
 * What this process itself must never say: the passwords of its settings and the tokens that it was given. A service may quote them
 * back in any answer (a proxy's page shows the headers of the request, Keystone the body that it could not read), and no
 * pattern finds a password. So they are known by their value, and taken out wherever words are made (shared/blacken.ts).
 */
const lasting = new Map<string, string[]>()
const passing = new Map<string, string[]>()

/** Less than that is found within ordinary words, and what is missing there would tell it. */
const leastLength = 8
/** Tokens are renewed by the hour; the words about a call come long before that many others. */
const mostTokens = 32

/** A password, or another secret that lasts as long as the process. */
export function noteSecret(value: string | undefined): void {
  if (value !== undefined && value.length >= leastLength) lasting.set(value, formsOf(value))
}

export function noteToken(value: string): void {
  if (value.length < leastLength) return
  passing.delete(value)
  passing.set(value, formsOf(value))
  const [oldest] = passing.keys()
  if (passing.size > mostTokens && oldest !== undefined) passing.delete(oldest)
}

export function withoutKnownSecrets(text: string): string {
  let clean = text
  for (const forms of [...lasting.values(), ...passing.values()])
    for (const form of forms) clean = clean.replaceAll(form, '(removed)')
  return clean
}

/** As it is, and as JSON, JSON within JSON, a URL or a header quote it; the longest first, for one may be within another. */
function formsOf(value: string): string[] {
  const quoted = JSON.stringify(value).slice(1, -1)
  const bytes = Buffer.from(value)
  const forms = [
    value,
    quoted,
    JSON.stringify(quoted).slice(1, -1),
    encodeURIComponent(value.toWellFormed()),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
  ]
  return [...new Set(forms)].sort((a, b) => b.length - a.length)
}

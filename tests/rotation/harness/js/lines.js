// Verifies each token of standard input: a line `NUMBER TOKEN` in, a line `NUMBER ACCEPTED REFUSED REASON` out.
import { createInterface } from 'node:readline'

export const { ISSUER, AUDIENCE, JWKS_URI } = process.env
export const divisor = Number(process.env.DIVISOR)

export async function verifyEach(verify) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [number, token] = line.split(' ')
    try {
      await verify(token)
      console.log(`${number} 1 0`)
    } catch (error) {
      console.log(`${number} 0 1 ${error.name}: ${error.message}`.replaceAll('\n', ' '))
    }
  }
}

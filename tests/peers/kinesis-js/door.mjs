// How the JavaScript clients reach the door: address, region and keys come from the environment, as the SDK takes them. Nothing is
// told twice, so that what a retry would hide is seen; and the first thing that is wrong ends the program with one line.
import { isDeepStrictEqual, inspect } from 'node:util'

export const settings = { maxAttempts: 1 }
const WAIT_MS = 30_000

export function expect(found, wanted, what) {
  if (!isDeepStrictEqual(found, wanted)) {
    throw new Error(`${what}: expected ${inspect(wanted)}, found ${inspect(found)}`)
  }
  return found
}

export function must(true_, what) {
  if (!true_) throw new Error(what)
}

// The error that a command must be refused with.
export async function refused(name, client, command) {
  try {
    await client.send(command)
  } catch (error) {
    expect(error.name, name, `the name of ${error}`)
    expect(error.$metadata?.httpStatusCode, 400, `the status of ${name}`)
    must(error.message && error.$metadata.requestId, `${name} without a message or a request id`)
    return
  }
  throw new Error(`${command.constructor.name}: expected ${name}, found an answer`)
}

export async function until(found, what) {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    const it = await found()
    if (it) return it
    must(Date.now() < deadline, `still waiting: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

// Runs a program to its end; what it did is one JSON object on standard output.
export async function run(program) {
  try {
    console.log(JSON.stringify(await program()))
    process.exit(0)
  } catch (error) {
    console.error(error.stack ?? String(error))
    process.exit(1)
  }
}

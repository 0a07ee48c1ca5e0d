// A real browser with one page, whose errors are recorded.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import { launch } from 'puppeteer-core'

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

export class Seen {
  #faults = []

  static async open(origin) {
    const seen = new Seen()
    seen.origin = origin
    // As root, Chromium needs to be without its sandbox; only our own pages are opened.
    const args = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
    seen.browser = await launch({ executablePath: process.env.CHROMIUM, args, defaultViewport: { width: 1280, height: 900 } })
    seen.page = await seen.browser.newPage()
    seen.page.on('console', (message) => seen.#faults.push(`console: ${message.text()}`))
    seen.page.on('pageerror', (error) => seen.#faults.push(`exception: ${error}`))
    seen.page.on('request', (request) => {
      if (!request.url().startsWith(origin)) seen.#faults.push(`off the origin: ${request.url()}`)
    })
    return seen
  }

  /** The errors since the last call, as the browser reports them, except for the expected ones. */
  hasNoFaultsBut(...expected) {
    const others = this.#faults.splice(0).filter((fault) => !expected.some((text) => fault.includes(text)))
    assert.deepEqual(others, [])
  }

  goto(path) {
    return this.page.goto(new URL(path, this.origin).href)
  }

  async text() {
    // During a navigation there is no page.
    return this.page.evaluate(() => document.body?.innerText ?? '').catch(() => '')
  }

  /** Waits until the page shows this. */
  async says(text) {
    for (let attempt = 0; attempt < 1000; attempt++) {
      if ((await this.text()).includes(text)) return
      await pause(20)
    }
    assert.fail(`the page never says ${text}; it says: ${await this.text()}`)
  }

  async has(selector) {
    return (await this.page.$(selector)) !== null
  }

  /** Types into the field in place of what is there. */
  async fill(selector, text) {
    await this.page.click(selector, { count: 3 })
    await this.page.keyboard.press('Backspace')
    await this.page.type(selector, text)
  }

  /** Presses Tab until the focus is on this. */
  async tabTo(selector) {
    for (let presses = 0; presses < 50; presses++) {
      if (await this.page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return
      await this.page.keyboard.press('Tab')
    }
    assert.fail(`Tab never comes to ${selector}`)
  }

  async cookies() {
    return this.browser.cookies()
  }

  /** Takes pictures of the page, wide and narrow, light and dark. Nothing may be cut off, and axe finds nothing. */
  async pictures(name) {
    for (const scheme of ['light', 'dark']) {
      await this.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
      for (const width of [1280, 390]) {
        await this.page.setViewport({ width, height: 900 })
        const [wanted, there] = await this.page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth])
        assert.ok(wanted <= there, `${name} at ${width} px needs ${wanted} px`)
        await this.page.screenshot({ path: join(process.env.SCREENSHOTS, `express-${name}-${scheme}-${width}.png`) })
        assert.deepEqual(await this.findingsOfAxe(), [], `${name}, ${scheme}, ${width} px`)
      }
    }
    await this.page.setViewport({ width: 1280, height: 900 })
  }

  async findingsOfAxe() {
    // In a world of its own, where the page's Content-Security-Policy is not in the way.
    const session = await this.page.createCDPSession()
    const { frameTree } = await session.send('Page.getFrameTree')
    const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id, worldName: 'axe' })
    const source = readFileSync(AXE, 'utf8')
    await session.send('Runtime.evaluate', { expression: source, contextId })
    const { result } = await session.send('Runtime.evaluate', {
      expression: 'axe.run().then((found) => found.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" ")}`))',
      contextId, awaitPromise: true, returnByValue: true,
    })
    await session.detach()
    return result.value
  }

  close() {
    return this.browser.close()
  }
}

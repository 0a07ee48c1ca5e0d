// Shows how an API checks tokens: a tab for each language, with this issuer and the audience of the last token filled in.
import { copies, demo } from './first-token.js'

const list = document.getElementById('languages')
const panels = document.getElementById('panels')

// What goes into code unquoted or between quotes of any language. An IPv6 address has brackets.
const isPlain = (text) => /^[\w.~:\/?=%@+,[\]-]+$/.test(text)

// The answer of the server: its issuer, the tabs, and what the guides have in place of its values.
let loaded = null
// The audience of the last token, which may come before that answer.
let audience = null
// What stands in place of what the guides have.
let replacements = new Map()
// The API that the guides call.
let api = null
// The code elements, with the parts that they show as the guides have them.
const codes = []

// All at once, so that no value is replaced within another.
function fill() {
  const written = [...replacements.keys()].map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')
  for (const [code, part] of codes) {
    code.textContent = part.code.replace(new RegExp(written, 'g'), (found) => {
      // Code that is an API, and does not call one, has an address of its own.
      return found === api && !part.callsApi ? found : replacements.get(found)
    })
  }
}

// What of the code has the values of this server, and what the reader has to change.
function aboutValues({ issuer, written }) {
  const byHand = (text, what) => 'In place of ' + text + ', write ' + what + '.'
  const quoted = ', with the quotes that the language needs'
  const ofIssuer = isPlain(issuer) ? 'The code below has this issuer filled in.' : byHand(written.issuer, 'this issuer, ' + issuer + quoted)
  if (!audience) return ofIssuer + ' ' + byHand(written.audience, 'the audience of your API')
  const ofToken = 'that of the last token, ' + audience
  return ofIssuer + ' ' + (isPlain(audience) ? 'The audience is ' + ofToken + '.' : byHand('the audience ' + written.audience, ofToken + quoted))
}

function setReplacements() {
  if (!loaded) return
  const { issuer, written } = loaded
  const values = [[written.issuer, issuer], [written.audience, audience ?? written.audience]]
  api = written.api
  if (demo) values.push([api, new URL(demo.orders).origin], ['{secret}', demo.app.secret])
  replacements = new Map(values.map(([written, value]) => [written, isPlain(value) ? value : written]))
  document.getElementById('protect-values').textContent = aboutValues(loaded)
  fill()
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

// A text, or code with its title and a button that copies it.
function partOf(part, tab) {
  if (part.notDemo && demo) return []
  if (part.text) return [element('p', { textContent: part.text })]
  if (part.onlyDemo && !demo) return []
  const code = element('pre', { className: 'code', tabIndex: 0 })
  code.setAttribute('aria-label', tab.name + ': ' + part.title)
  codes.push([code, part])
  const button = element('button', { type: 'button', className: 'second', textContent: 'Copy it' })
  button.setAttribute('aria-label', 'Copy it: ' + part.title)
  const said = element('span')
  said.setAttribute('role', 'status')
  copies(button, code, said, 'The code')
  return [element('h3', { textContent: part.title }), code, element('p', {}, button, ' ', said)]
}

function select(tab) {
  for (const each of list.children) {
    const selected = each === tab
    each.setAttribute('aria-selected', selected)
    each.tabIndex = selected ? 0 : -1
    document.getElementById(each.getAttribute('aria-controls')).hidden = !selected
  }
}

function show(tabs) {
  panels.replaceChildren()
  for (const tab of tabs) {
    const id = 'language-' + tab.name.toLowerCase()
    const button = element('button', { type: 'button', id, textContent: tab.name })
    button.setAttribute('role', 'tab')
    button.setAttribute('aria-controls', id + '-panel')
    button.addEventListener('click', () => select(button))
    list.append(button)
    const panel = element('div', { id: id + '-panel' }, ...tab.parts.flatMap((part) => partOf(part, tab)))
    panel.setAttribute('role', 'tabpanel')
    panel.setAttribute('aria-labelledby', id)
    panels.append(panel)
  }
  select(list.firstElementChild)
}

// The arrow keys move between the tabs, as in every tab list (ARIA Authoring Practices, tabs).
list.addEventListener('keydown', (event) => {
  const tabs = [...list.children]
  const at = tabs.indexOf(document.activeElement)
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key]
  if (at < 0 || to === undefined) return
  event.preventDefault()
  const tab = tabs.at(to % tabs.length)
  select(tab)
  tab.focus()
})

async function snippets() {
  const answer = await fetch(panels.dataset.from, { credentials: 'omit', cache: 'no-cache' })
  if (!answer.ok) throw new Error('the server answered ' + answer.status)
  return answer.json()
}

document.addEventListener('first-token', ({ detail }) => {
  audience = detail.aud
  setReplacements()
})

snippets()
  .then((snippets) => {
    loaded = snippets
    show(loaded.tabs)
    setReplacements()
  })
  .catch((failure) => {
    panels.textContent = 'The snippets cannot be shown: ' + failure.message + '. Reload this page, or read the guide.'
    panels.className = 'bad'
  })

// Swagger UI, made accessible, and adapted so that requests work when they are tried.
import { demo, formEncoded, login } from './first-token.js'

// --- keyboard and screen readers

// Makes its dialog a native one: Tab stays in it, Escape closes it, and the focus returns afterwards.
const realDialog = ({ React }) => ({
  wrapComponents: {
    authorizationPopup: (Popup) =>
      class extends React.Component {
        dialog = React.createRef()

        componentDidMount() {
          this.dialog.current.showModal()
        }

        componentWillUnmount() {
          this.dialog.current.close()
        }

        render() {
          const onClose = () => this.props.authActions.showDefinitions(false)
          return React.createElement('dialog', { ref: this.dialog, onClose, 'aria-label': 'Available authorizations' }, React.createElement(Popup, this.props))
        }
      },
  },
})

const swagger = document.getElementById('swagger-ui')
const all = (selector) => swagger.querySelectorAll(selector)

// Its selects and its close and copy buttons have no accessible names, and what scrolls sideways on a phone cannot be scrolled by keys.
function nameThings() {
  for (const wide of all('.renderedMarkdown table:not([tabindex]), pre.microlight:not([tabindex])')) wide.tabIndex = 0
  for (const close of all('.close-modal:not([aria-label])')) close.setAttribute('aria-label', 'Close')
  // Their labels say more.
  for (const field of all('dialog input[aria-label]')) field.removeAttribute('aria-label')
  for (const copy of all('.copy-to-clipboard button:not([aria-label])')) copy.setAttribute('aria-label', 'Copy')
  // Their text is their name.
  for (const button of all('.modal-btn[aria-label]')) button.removeAttribute('aria-label')
  for (const choice of all('select:not([aria-label])')) {
    const parameter = choice.closest('tr')?.querySelector('.parameter__name')?.textContent.replace(/\s*\*$/, '')
    const name = choice.matches('.examples-select-element') ? 'Example' : parameter
    choice.setAttribute('aria-label', name || 'Choice')
  }
  for (const title of all('.info .renderedMarkdown h3:not([id])')) title.id = 'about-' + title.textContent.toLowerCase().replace(/[^a-z]+/g, '-')
}

// Pressing Execute, Clear or Authorize removes the button: it is disabled or replaced by another. Moves the focus to that place, unless
// it has moved elsewhere.
let last = null
document.addEventListener('focusin', ({ target }) => {
  last = { target, place: target.closest('.opblock, dialog') }
})
document.addEventListener('pointerdown', () => (last = null))
document.addEventListener('keydown', ({ key }) => key === 'Tab' && (last = null))
function keepFocus() {
  if (document.activeElement !== document.body || !document.hasFocus() || !last?.place?.isConnected) return
  const { target, place } = last
  if (!target.isConnected) place.querySelector('.execute, .auth.button')?.focus({ preventScroll: true })
  else if (target.matches('button')) target.focus({ preventScroll: true })
}

// Runs once the titles exist. On a phone, the requests are far below the text about them.
function listContents() {
  const contents = document.getElementById('contents')
  if (!contents.hidden || !all('h3.opblock-tag').length) return
  const links = (selector, name) =>
    [...all(selector)].map((title) => {
      const item = document.createElement('li')
      const link = document.createElement('a')
      link.href = '#' + title.id
      link.textContent = name(title)
      item.append(link)
      return item
    })
  document.getElementById('contents-about').append(...links('.info .renderedMarkdown h3[id]', (title) => title.textContent))
  document.getElementById('contents-requests').append(...links('h3.opblock-tag[id]', (title) => title.dataset.tag))
  contents.hidden = false
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView()
}

// --- requests

// RFC 6749 section 2.3.1 requires form-encoded id and secret. Swagger UI does not encode them.
const encodedBasic = () => ({
  statePlugins: {
    auth: {
      wrapActions: {
        authorize: (authorize) => (payload) => {
          const encoded = ([scheme, { value, ...rest }]) => {
            return [scheme, { ...rest, value: { username: formEncoded(value.username ?? ''), password: formEncoded(value.password ?? '') } }]
          }
          return authorize(Object.fromEntries(Object.entries(payload).map(encoded)))
        },
      },
    },
  },
})

// The form shows the fields of all grants, each with an example.
const FIELDS_OF_GRANTS = { password: ['username', 'password'], refresh_token: ['refresh_token'] }

// Removes example values that the chosen grant does not need, credentials in a second place, and refresh tokens that were never issued.
// Values that the user typed are always sent.
const withoutUnneededExamples = (examples) => (request) => {
  // So that the browser neither shows its own password prompt nor sends a stored password.
  request.credentials = 'omit'
  if (typeof request.body !== 'string' || request.method !== 'POST') return request
  const body = new URLSearchParams(request.body)
  const leaveOut = (fields) => fields.filter((field) => body.get(field) === examples[field]).forEach((field) => body.delete(field))
  for (const [grant, fields] of Object.entries(FIELDS_OF_GRANTS)) {
    if (body.has('grant_type') && body.get('grant_type') !== grant) leaveOut(fields)
  }
  if (/^Basic /.test(request.headers.Authorization)) leaveOut(['client_id', 'client_secret'])
  for (const field of ['refresh_token', 'token'].filter((field) => body.get(field) === examples[field])) {
    if (login.refreshToken) body.set(field, login.refreshToken)
    else body.delete(field)
  }
  for (const [field, value] of [...body]) if (!value) body.delete(field)
  request.body = body.toString()
  return request
}

function rememberLogin(response) {
  login.refreshToken = response.body?.refresh_token ?? login.refreshToken
  return response
}

// --- the description

async function description() {
  const answer = await fetch('openapi.json', { credentials: 'omit', cache: 'no-cache' })
  if (!answer.ok) throw new Error('the server answered ' + answer.status)
  const spec = await answer.json()
  const { schemas, parameters } = spec.components
  // Adjusts the heading levels to this page and inserts this server's address.
  spec.info.description = spec.info.description.replace(/^#/gm, '###').replaceAll('http://localhost:8080/', new URL('.', location).href)
  // Swagger UI would make a broken link of it.
  delete spec.info.license
  // It would be sent with every request and logged.
  delete parameters.RequestId.example
  // No request of this API uses it, so filling it in would have no effect.
  delete spec.components.securitySchemes.oauth2
  // In a demo, the examples are the demo's credentials, so that requests work. Otherwise the examples are empty, so that tried requests
  // neither lock out a user who has the name of an example nor name scopes that do not exist.
  const credentials = demo ?? { client_id: '', client_secret: '', username: '', password: '' }
  const { username, password, refresh_token } = schemas.TokenRequest.properties
  schemas.ClientId.example = credentials.client_id
  schemas.ClientSecret.example = credentials.client_secret
  username.example = credentials.username
  password.example = credentials.password
  if (!demo) schemas.Resource.example = schemas.Scope.example = ''
  const fields = { ...credentials, refresh_token: refresh_token.example, token: schemas.RevocationRequest.properties.token.example }
  return { spec, examples: fields }
}

new MutationObserver(() => {
  nameThings()
  keepFocus()
  listContents()
}).observe(swagger, { childList: true, subtree: true })

// Loads Swagger UI. `noZensmooth` keeps it from intercepting links within this page and scrolling without moving the focus.
async function render({ spec, examples }) {
  window.noZensmooth = true
  await new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = 'docs/swagger-ui-bundle.js'
    script.onload = resolve
    script.onerror = () => reject(new Error(script.src + ' does not load'))
    document.head.append(script)
  })
  const ui = SwaggerUIBundle({
    spec,
    dom_id: '#swagger-ui',
    layout: 'BaseLayout',
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [realDialog, encodedBasic],
    // With deep links, each operation's button would contain a link, and it would be unclear which of the two a key activates.
    deepLinking: false,
    docExpansion: 'list',
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: withoutUnneededExamples(examples),
    responseInterceptor: rememberLogin,
    onComplete: () => {
      if (demo) ui.preauthorizeBasic('clientBasic', demo.client_id, demo.client_secret)
    },
  })
}

description()
  .then(render)
  .catch((failure) => {
    swagger.textContent = 'The description cannot be shown: ' + failure.message + '. Reload this page or read the description as YAML.'
    swagger.className = 'bad'
  })

// Swagger UI, made accessible by keyboard and screen reader, and with requests that work when they are tried.
import { demo, formEncoded, login } from './first-token.js'

// --- keyboard and screen reader

// Its dialog becomes a native one: Tab stays in it, Escape closes it, and the focus returns to where it was.
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

// Swagger UI gives no accessible name to its choices and its close and copy buttons, and keys cannot scroll what is wider than a phone.
function nameControls() {
  for (const wide of all('.renderedMarkdown table:not([tabindex]), pre.microlight:not([tabindex])')) wide.tabIndex = 0
  for (const close of all('.close-modal:not([aria-label])')) close.setAttribute('aria-label', 'Close')
  // Their visible labels say more.
  for (const field of all('dialog input[aria-label]')) field.removeAttribute('aria-label')
  for (const copy of all('.copy-to-clipboard button:not([aria-label])')) copy.setAttribute('aria-label', 'Copy')
  // Their visible text is their name.
  for (const button of all('.modal-btn[aria-label]')) button.removeAttribute('aria-label')
  for (const choice of all('select:not([aria-label])')) {
    const parameter = choice.closest('tr')?.querySelector('.parameter__name')?.textContent.replace(/\s*\*$/, '')
    const name = choice.matches('.examples-select-element') ? 'Example' : parameter
    choice.setAttribute('aria-label', name || 'Choice')
  }
  for (const title of all('.info .renderedMarkdown h3:not([id])')) title.id = 'about-' + title.textContent.toLowerCase().replace(/[^a-z]+/g, '-')
}

// Pressing Execute, Clear or Authorize disables or replaces the button, which loses the focus. The focus returns there, unless the user
// has moved it elsewhere.
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

// Runs once the titles exist. On a phone the requests are far below the introduction.
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

// --- what is sent

// RFC 6749 section 2.3.1 requires id and secret to be form-encoded, which Swagger UI does not do.
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

// Removes example values that do not belong to the chosen grant, that repeat the credentials, or that are an example's refresh token.
// Values that the user typed are always sent.
const withoutStrayExamples = (examples) => (request) => {
  // The browser must neither show a password prompt of its own nor send a stored password.
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
  // Below the titles of this page, and with this server's address.
  spec.info.description = spec.info.description.replace(/^#/gm, '###').replaceAll('http://localhost:8080/', new URL('.', location).href)
  // Swagger UI would turn it into a broken link.
  delete spec.info.license
  // The log would have it for every request.
  delete parameters.RequestId.example
  // No request of this server uses it, so a form for it would confuse.
  delete spec.components.securitySchemes.oauth2
  // In a demo, the examples are the web shop, which may use every grant, and its user, so that the requests work. Elsewhere there are none, so that trying a request
  // neither locks out a user who is named like an example nor requests a scope that only the example has.
  const people = demo
    ? { client_id: demo.shop.id, client_secret: demo.shop.secret, username: demo.username, password: demo.password }
    : { client_id: '', client_secret: '', username: '', password: '' }
  const { username, password, refresh_token } = schemas.TokenRequest.properties
  schemas.ClientId.example = people.client_id
  schemas.ClientSecret.example = people.client_secret
  // An assertion is signed for one request.
  schemas.ClientAssertionType.example = schemas.ClientAssertion.example = ''
  username.example = people.username
  password.example = people.password
  if (!demo) schemas.Resource.example = schemas.Scope.example = ''
  const fields = { ...people, refresh_token: refresh_token.example, token: schemas.RevocationRequest.properties.token.example }
  return { spec, examples: fields }
}

new MutationObserver(() => {
  nameControls()
  keepFocus()
  listContents()
}).observe(swagger, { childList: true, subtree: true })

// Without `noZensmooth`, Swagger UI would handle every link within this page, and scroll without moving the focus.
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
    // Otherwise each operation's button contains a link, and it is undefined which of the two a key activates.
    deepLinking: false,
    docExpansion: 'list',
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: withoutStrayExamples(examples),
    responseInterceptor: rememberLogin,
    onComplete: () => {
      if (demo) ui.preauthorizeBasic('clientBasic', demo.shop.id, demo.shop.secret)
    },
  })
}

description()
  .then(render)
  .catch((failure) => {
    swagger.textContent = 'The description cannot be shown: ' + failure.message + '. Reload this page, or read the description as YAML.'
    swagger.className = 'bad'
  })

// Swagger UI, so that everybody can use it, and so that what is tried works.
import { demo, login } from './first-token.js'

// --- by keys and by ear

// Its dialog becomes one of the browser's own: Tab stays in it, Escape closes it, and what had the focus has it again afterwards.
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
          return React.createElement('dialog', { ref: this.dialog, onClose, 'aria-label': 'Who is asking' }, React.createElement(Popup, this.props))
        }
      },
  },
})

const swagger = document.getElementById('swagger-ui')
const all = (selector) => swagger.querySelectorAll(selector)

// What is chosen, closed or copied by has no name of its own there, and what scrolls sideways on a phone cannot be scrolled by keys.
function nameThings() {
  for (const wide of all('.renderedMarkdown table:not([tabindex]), pre.microlight:not([tabindex])')) wide.tabIndex = 0
  for (const close of all('.close-modal:not([aria-label])')) close.setAttribute('aria-label', 'Close')
  for (const copy of all('.copy-to-clipboard button:not([aria-label])')) copy.setAttribute('aria-label', 'Copy')
  // They are called what is written on them.
  for (const button of all('.modal-btn[aria-label]')) button.removeAttribute('aria-label')
  for (const choice of all('select:not([aria-label])')) {
    const parameter = choice.closest('tr')?.querySelector('.parameter__name')?.textContent.trim()
    const name = choice.matches('.examples-select-element') ? 'Example' : parameter
    choice.setAttribute('aria-label', name || 'Choice')
  }
  for (const title of all('.info .renderedMarkdown h3:not([id])')) title.id = 'about-' + title.textContent.toLowerCase().replace(/[^a-z]+/g, '-')
}

// Once it is pressed, Execute makes room for two buttons, and the focus goes with it; it belongs on the one of the same name.
let pressed = null
swagger.addEventListener('click', (event) => {
  pressed = event.target.matches('.execute') ? event.target.closest('.opblock') : null
})
function keepFocus() {
  if (pressed && document.activeElement === document.body) pressed.querySelector('.execute')?.focus({ preventScroll: true })
}

// Once the titles are there: on a phone the requests lie far below what is said of them.
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
}

// --- what is sent

// The form shows the fields of all grants, each with an example.
const FIELDS_OF_GRANTS = { password: ['username', 'password'], refresh_token: ['refresh_token'] }

// Sent is what the chosen grant needs, credentials in one place, and instead of an example's refresh token one that is good.
const sendWhatBelongs = (examples) => (request) => {
  // The browser must not ask for a password of its own, nor send what it remembers.
  request.credentials = 'omit'
  // The example's id would stand in the log for every request.
  if (request.headers['X-Request-Id'] === examples.requestId) delete request.headers['X-Request-Id']
  if (typeof request.body !== 'string' || request.method !== 'POST') return request
  const body = new URLSearchParams(request.body)
  for (const [grant, fields] of Object.entries(FIELDS_OF_GRANTS)) {
    if (body.has('grant_type') && body.get('grant_type') !== grant) fields.forEach((field) => body.delete(field))
  }
  for (const field of ['refresh_token', 'token']) {
    if (login.refreshToken && examples.refreshTokens.includes(body.get(field))) body.set(field, login.refreshToken)
  }
  if (/^Basic /.test(request.headers.Authorization)) ['client_id', 'client_secret'].forEach((field) => body.delete(field))
  request.body = body.toString()
  return request
}

function rememberLogin(response) {
  if (response.ok && /\/oauth\/token$/.test(response.url)) login.refreshToken = JSON.parse(response.text).refresh_token ?? login.refreshToken
  return response
}

// --- the description

async function described() {
  const spec = await (await fetch('openapi.json', { credentials: 'omit', cache: 'no-cache' })).json()
  const schemas = spec.components.schemas
  // Under the titles of this page.
  spec.info.description = spec.info.description.replace(/^#/gm, '###')
  // No request of this server uses it, and whoever filled it in would wonder why.
  delete spec.components.securitySchemes.oauth2
  const examples = {
    requestId: spec.components.parameters.RequestId.example,
    refreshTokens: [schemas.TokenRequest.properties.refresh_token.example, schemas.RevocationRequest.properties.token.example],
  }
  // In a demo the examples are the demo's own people, so that what is tried works.
  if (demo) {
    schemas.TokenRequest.properties.username.example = demo.username
    schemas.TokenRequest.properties.password.example = demo.password
    schemas.ClientId.example = demo.client_id
    schemas.ClientSecret.example = demo.client_secret
  }
  return { spec, examples }
}

new MutationObserver(() => {
  nameThings()
  keepFocus()
  listContents()
}).observe(swagger, { childList: true, subtree: true })

described().then(({ spec, examples }) => {
  const ui = SwaggerUIBundle({
    spec,
    dom_id: '#swagger-ui',
    layout: 'BaseLayout',
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [realDialog],
    // With it, each operation's button holds a link, and nobody can tell which of the two a key presses.
    deepLinking: false,
    docExpansion: 'list',
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: sendWhatBelongs(examples),
    responseInterceptor: rememberLogin,
    onComplete: () => {
      if (demo) ui.preauthorizeBasic('clientBasic', demo.client_id, demo.client_secret)
    },
  })
})

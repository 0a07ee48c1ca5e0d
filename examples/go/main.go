// A small API that only trusted apps and signed-in users may call, with net/http. lestrrat-go/jwx checks the tokens; what it would let through
// is refused here.
//
//	ISSUER=http://localhost:8080 AUDIENCE=https://orders.example LISTEN=127.0.0.1:8090 go run .
//
// GET /orders needs the scope orders:read, POST /orders needs orders:write. Tokens are checked with the cached keys of the issuer.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

const (
	leeway    = 30 * time.Second // by how much the clocks of the issuer and of this API may differ
	maxToken  = 16 << 10
	maxKeys   = 256 << 10
	maxBody   = 64 << 10
	maxItem   = 200
	maxDepth  = 64
	maxOrders = 10_000
)

var (
	issuer, audience = os.Getenv("ISSUER"), os.Getenv("AUDIENCE")
	algorithm        = jwa.RS256() // the API's own choice; never the token's
)

var (
	errNoKeys  = errors.New("the issuer's keys are not available")
	errInvalid = errors.New("not a valid access token")
)

// keySet is the issuer's keys, fetched in the background every 1 to 5 minutes. While the issuer is down, the last ones are used.
type keySet struct {
	cache   *jwk.Cache
	url     string
	mutex   sync.Mutex
	fetched time.Time
}

func newKeySet(ctx context.Context, url string) (*keySet, error) {
	client := &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cache, err := jwk.NewCache(ctx, httprc.NewClient(httprc.WithHTTPClient(client)))
	if err != nil {
		return nil, err
	}
	start, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	// A key that jwx cannot read is skipped (RFC 7517 section 5). By default, it makes the whole set unusable.
	err = cache.Register(start, url, jwk.WithMinInterval(time.Minute), jwk.WithMaxInterval(5*time.Minute),
		jwk.WithIgnoreParseError(true), jwk.WithMaxFetchBodySize(maxKeys))
	if err != nil {
		log.Print("no keys yet: ", err) // the cache keeps trying
	}
	return &keySet{cache: cache, url: url, fetched: time.Now()}, nil
}

// key returns the key that verifies with the algorithm. A kid that is not known causes at most one fetch in 30 s.
func (k *keySet) key(ctx context.Context, kid string) (jwk.Key, error) {
	set, err := k.cache.Lookup(ctx, k.url)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKeys, err)
	}
	key, found := set.LookupKeyID(kid)
	if !found && k.mayFetch() {
		if set, err = k.cache.Refresh(ctx, k.url); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoKeys, err)
		}
		key, found = set.LookupKeyID(kid)
	}
	if !found {
		return nil, errInvalid
	}
	use, _ := key.KeyUsage()
	alg, _ := key.Algorithm()
	// jwx also takes keys without a use, and does not read the key_ops that say what these are for.
	if use != "sig" || alg != algorithm {
		return nil, errInvalid
	}
	return key, nil
}

func (k *keySet) mayFetch() bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if time.Since(k.fetched) < 30*time.Second {
		return false
	}
	k.fetched = time.Now()
	return true
}

type header struct {
	Kid  string         `json:"kid"`
	Typ  string         `json:"typ"`
	Crit jsontext.Value `json:"crit"`
	Zip  jsontext.Value `json:"zip"`
}

// claims are those of an access token (RFC 9068 section 2.2) that are read here for their types: a time is a whole number. jwx checks the
// times, iss and aud.
type claims struct {
	Subject   string         `json:"sub"`
	ClientID  string         `json:"client_id"`
	ID        string         `json:"jti"`
	Expires   int64          `json:"exp"`
	Issued    int64          `json:"iat"`
	NotBefore int64          `json:"nbf"`
	Scope     string         `json:"scope"`
	Bound     jsontext.Value `json:"cnf"`
}

// base64url has one way to write a part of a token: without padding and unused bits. It skips line breaks, which jwx refuses.
var base64url = base64.RawURLEncoding.Strict()

// read reads a part as an object: UTF-8, without duplicate members and deep nesting, which readers could take for different things.
func read(part string, into any) error {
	text, err := base64url.DecodeString(part)
	if err != nil {
		return err
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for err == nil && decoder.StackDepth() <= maxDepth {
		_, err = decoder.ReadToken()
	}
	if err != io.EOF {
		return errInvalid
	}
	return json.Unmarshal(text, into)
}

// check returns the claims of a valid access token.
func (k *keySet) check(ctx context.Context, token string) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return nil, errInvalid
	}
	var h header
	var c claims
	_, err := base64url.DecodeString(parts[2])
	if err := errors.Join(err, read(parts[0], &h), read(parts[1], &c)); err != nil {
		return nil, err
	}
	// An ID token has another typ. jwx ignores zip, and crit if it is null. A token with cnf is valid only with proof of possession of a key.
	if h.Kid == "" || h.Typ != "at+jwt" || h.Crit != nil || h.Zip != nil || c.Bound != nil {
		return nil, errInvalid
	}
	if c.Subject == "" || c.ClientID == "" || c.ID == "" || c.Issued == 0 {
		return nil, errInvalid
	}
	key, err := k.key(ctx, h.Kid)
	if err != nil {
		return nil, err
	}
	_, err = jwt.ParseString(token, jwt.WithKey(algorithm, key), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithRequiredClaim("exp"), jwt.WithAcceptableSkew(leeway))
	return &c, err
}

// requires passes on the requests whose token carries the scope.
func (k *keySet) requires(scope string, next func(http.ResponseWriter, *http.Request, *claims)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int, header, value string) {
			w.Header().Set(header, value)
			http.Error(w, http.StatusText(status), status)
		}
		sent := r.Header.Values("Authorization")
		if len(sent) > 1 {
			refuse(http.StatusBadRequest, "WWW-Authenticate", `Bearer error="invalid_request"`)
			return
		}
		scheme, token, _ := strings.Cut(strings.Join(sent, ""), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			refuse(http.StatusUnauthorized, "WWW-Authenticate", "Bearer")
			return
		}
		caller, err := k.check(r.Context(), token)
		switch {
		case errors.Is(err, errNoKeys):
			refuse(http.StatusServiceUnavailable, "Retry-After", "10") // the token may be valid
		case err != nil:
			refuse(http.StatusUnauthorized, "WWW-Authenticate", `Bearer error="invalid_token"`)
		case !slices.Contains(strings.Split(caller.Scope, " "), scope):
			refuse(http.StatusForbidden, "WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`)
		default:
			next(w, r, caller)
		}
	}
}

type order struct {
	Item  string `json:"item"`
	Owner string `json:"owner"`
}

type orders struct {
	mutex sync.Mutex
	all   []order
}

func (o *orders) list(w http.ResponseWriter, _ *http.Request, caller *claims) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	own := slices.DeleteFunc(slices.Clone(o.all), func(it order) bool { return it.Owner != caller.Subject })
	answer(w, http.StatusOK, own)
}

func (o *orders) create(w http.ResponseWriter, r *http.Request, caller *claims) {
	var asked struct {
		Item string `json:"item"`
	}
	if err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBody), &asked); err != nil || asked.Item == "" || len(asked.Item) > maxItem {
		http.Error(w, `send an order: {"item": "tea"}`, http.StatusUnprocessableEntity)
		return
	}
	it := order{Item: asked.Item, Owner: caller.Subject}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.all = append(o.all[max(0, len(o.all)-maxOrders+1):], it)
	answer(w, http.StatusCreated, it)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.MarshalWrite(w, body); err != nil {
		log.Print(err)
	}
}

func main() {
	keys, err := newKeySet(context.Background(), issuer+"/.well-known/jwks.json")
	if err != nil {
		log.Fatal(err)
	}
	orders := &orders{all: []order{}}
	http.HandleFunc("GET /orders", keys.requires("orders:read", orders.list))
	http.HandleFunc("POST /orders", keys.requires("orders:write", orders.create))
	server := &http.Server{Addr: os.Getenv("LISTEN"), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10}
	log.Fatal(server.ListenAndServe())
}

// A small API with net/http, set up right with one of two libraries, or with one hole: api LIBRARY HOLE. It prints the port on which it listens.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

const scope = "orders:read"

var (
	issuer, audience = os.Getenv("ISSUER"), os.Getenv("AUDIENCE")
	keysURL          = issuer + "/.well-known/jwks.json"
	hole             string
	errScope         = errors.New("insufficient_scope")
	errInvalid       = errors.New("not a plain access token")
)

type check func(ctx context.Context, token string) error

func hasScope(granted any) error {
	if text, _ := granted.(string); !slices.Contains(strings.Split(text, " "), scope) {
		return errScope
	}
	return nil
}

// limited is a key set that is fetched for an unknown kid at most once in 30 s.
type limited struct {
	mutex   sync.Mutex
	set     jose.JSONWebKeySet
	fetched time.Time
}

func (l *limited) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	keys := l.keys(parsed.Signatures[0].Protected.KeyID)
	if len(keys) != 1 || keys[0].Use == "enc" {
		return nil, errInvalid
	}
	return parsed.Verify(keys[0])
}

func (l *limited) keys(kid string) []jose.JSONWebKey {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.set.Key(kid)) == 0 && time.Since(l.fetched) > 30*time.Second {
		l.fetched = time.Now()
		if answer, err := (&http.Client{Timeout: 5 * time.Second}).Get(keysURL); err == nil {
			defer answer.Body.Close()
			var document struct{ Keys []json.RawMessage }
			if json.NewDecoder(answer.Body).Decode(&document) == nil {
				l.set.Keys = nil
				for _, each := range document.Keys {
					var key jose.JSONWebKey
					if json.Unmarshal(each, &key) == nil { // go-jose refuses a whole set because of one key of a type that it does not know
						l.set.Keys = append(l.set.Keys, key)
					}
				}
			}
		}
	}
	return l.set.Key(kid)
}

func withGoOidc() check {
	var keys oidc.KeySet = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &http.Client{Timeout: 5 * time.Second}), keysURL)
	if hole != "unlimited-fetches" {
		keys = &limited{}
	}
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256}, SkipIssuerCheck: hole == "any-issuer"}
	verifier := oidc.NewVerifier(issuer, keys, config)
	return func(ctx context.Context, token string) error {
		parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			return err
		}
		header := parsed.Signatures[0].Protected
		if header.ExtraHeaders[jose.HeaderType] != "at+jwt" || header.KeyID == "" {
			return errInvalid
		}
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			return err
		}
		var c map[string]any
		if err := verified.Claims(&c); err != nil {
			return err
		}
		if c["iat"] == nil || c["sub"] == nil || c["client_id"] == nil || c["jti"] == nil || c["cnf"] != nil {
			return errInvalid
		}
		return hasScope(c["scope"])
	}
}

func withJwx() check {
	cache, err := jwk.NewCache(context.Background(), httprc.NewClient())
	if err != nil {
		log.Fatal(err)
	}
	register := sync.OnceFunc(func() {
		start, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		err := cache.Register(start, keysURL, jwk.WithMinInterval(time.Minute), jwk.WithMaxInterval(5*time.Minute), jwk.WithIgnoreParseError(true))
		if err != nil {
			log.Print(err)
		}
	})
	return func(ctx context.Context, token string) error {
		register() // not at the start, because the probe starts afterwards
		keys, err := cache.Lookup(ctx, keysURL)
		if err != nil {
			return err
		}
		message := jws.NewMessage()
		payload, err := jws.Verify([]byte(token), jws.WithKeySet(keys), jws.WithCompact(), jws.WithCritValidation(hole != "no-crit"), jws.WithMessage(message))
		if err != nil {
			return err
		}
		header := message.Signatures()[0].ProtectedHeaders()
		alg, _ := header.Algorithm()
		if typ, _ := header.Type(); typ != "at+jwt" || alg != jwa.RS256() {
			return errInvalid
		}
		claims := jwt.New()
		wanted := []jwt.ValidateOption{jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithAcceptableSkew(30 * time.Second)}
		for _, name := range []string{"exp", "iat", "sub", "client_id", "jti"} {
			wanted = append(wanted, jwt.WithRequiredClaim(name))
		}
		if err := errors.Join(json.Unmarshal(payload, claims), jwt.Validate(claims, wanted...)); err != nil {
			return err
		}
		if claims.Has("cnf") {
			return errInvalid
		}
		var granted string
		_ = claims.Get("scope", &granted)
		return hasScope(granted)
	}
}

func answer(w http.ResponseWriter, status int, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	w.WriteHeader(status)
}

func main() {
	log.SetOutput(os.Stderr)
	library := os.Args[1]
	hole = os.Args[2]
	valid := map[string]func() check{"go-oidc": withGoOidc, "jwx": withJwx}[library]()
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		if hole == "head" && r.Method == http.MethodHead {
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			answer(w, http.StatusUnauthorized, "Bearer")
			return
		}
		if hole == "panic" {
			log.Print("token of ", strings.Split(token, ".")[1][:8]) // fails for what has no second part
		}
		switch err := valid(r.Context(), token); {
		case err == nil:
			fmt.Fprint(w, "all orders")
		case errors.Is(err, errScope):
			answer(w, http.StatusForbidden, `Bearer error="insufficient_scope"`)
		default:
			answer(w, http.StatusUnauthorized, `Bearer error="invalid_token"`)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}

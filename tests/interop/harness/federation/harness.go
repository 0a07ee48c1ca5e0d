// Shows each stranger's verdict on tokens: lines of JSON in, lines of JSON out.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/hashicorp/cap/jwt"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/cel"
	kubernetes "k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

type roots struct{ pem []byte }

func (r roots) CurrentCABundleContent() []byte { return r.pem }

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// The authenticator that a configuration describes, read and checked as the API server does.
func authentication(configuration []byte) apiserver.JWTAuthenticator {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	read := must(runtime.Decode(codecs.UniversalDecoder(), configuration)).(*apiserver.AuthenticationConfiguration)
	if wrong := validation.ValidateAuthenticationConfiguration(cel.NewDefaultCompiler(), read, nil); len(wrong) > 0 {
		log.Fatal(wrong.ToAggregate())
	}
	return read.JWT[0]
}

func main() {
	issuer, audience := os.Args[1], os.Args[2]
	pem := must(os.ReadFile(os.Args[3]))
	// As `sealwright federate kubernetes` prints it.
	configuration := must(os.ReadFile(os.Args[4]))
	ctx := context.Background()

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}

	cluster := must(kubernetes.New(ctx, kubernetes.Options{
		JWTAuthenticator:     authentication(configuration),
		CAContentProvider:    roots{pem},
		SupportedSigningAlgs: []string{"RS256", "ES256"},
	}))
	for deadline := time.Now().Add(time.Minute); cluster.HealthCheck() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			log.Fatal(cluster.HealthCheck())
		}
	}

	provider := must(oidc.NewProvider(oidc.ClientContext(ctx, client), issuer))
	verifier := provider.Verifier(&oidc.Config{ClientID: audience})
	keys := must(jwt.NewOIDCDiscoveryKeySet(ctx, issuer, string(pem)))
	validator := must(jwt.NewValidator(keys))

	strangers := map[string]func(token string) (string, error){
		"kubernetes": func(token string) (string, error) {
			response, ok, err := cluster.AuthenticateToken(authenticator.WithAudiences(ctx, nil), token)
			if err == nil && !ok {
				err = errors.New("not a token of this issuer")
			}
			if err != nil {
				return "", err
			}
			return response.User.GetName(), nil
		},
		"go-oidc": func(token string) (string, error) {
			verified, err := verifier.Verify(ctx, token)
			if err != nil {
				return "", err
			}
			return verified.Subject, nil
		},
		"cap": func(token string) (string, error) {
			claims, err := validator.Validate(ctx, token, jwt.Expected{
				Issuer: issuer, Audiences: []string{audience}, SigningAlgorithms: []jwt.Alg{jwt.RS256, jwt.ES256, jwt.PS256},
			})
			if err != nil {
				return "", err
			}
			return claims["sub"].(string), nil
		},
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var token string
		if err := in.Decode(&token); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		verdicts := map[string]map[string]string{}
		for name, ask := range strangers {
			if subject, err := ask(token); err != nil {
				verdicts[name] = map[string]string{"refused": err.Error()}
			} else {
				verdicts[name] = map[string]string{"subject": subject}
			}
		}
		if err := out.Encode(verdicts); err != nil {
			log.Fatal(err)
		}
	}
}

package main

import (
	"context"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// It has no cache rule to configure: a set is kept until a token does not verify with it.
var (
	fetching = oidc.ClientContext(context.Background(), &http.Client{Timeout: 5 * time.Second})
	keys     = oidc.NewRemoteKeySet(fetching, jwksURI)
	verifier = oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256}})
)

func verify(token string) error {
	_, err := verifier.Verify(context.Background(), token)
	return err
}

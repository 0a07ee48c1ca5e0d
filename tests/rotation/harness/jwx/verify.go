package main

import (
	"context"
	"log"
	"time"

	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

var cache = func() *jwk.Cache {
	cache, err := jwk.NewCache(context.Background(), httprc.NewClient())
	if err != nil {
		log.Fatal(err)
	}
	// Uncompressed, it follows max-age between its defaults of 15 minutes and 30 days. Compressed, its shortest interval: it rounds up to seconds.
	var rule []jwk.RegisterOption
	if divisor > 1 {
		rule = append(rule, jwk.WithConstantInterval(time.Second))
	}
	start, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if err := cache.Register(start, jwksURI, rule...); err != nil {
		log.Fatal(err)
	}
	return cache
}()

func verify(token string) error {
	keys, err := cache.Lookup(context.Background(), jwksURI)
	if err != nil {
		return err
	}
	_, err = jwt.Parse([]byte(token), jwt.WithKeySet(keys), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithAcceptableSkew(30*time.Second))
	return err
}

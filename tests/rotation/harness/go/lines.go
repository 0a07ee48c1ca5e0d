// Verifies each token of standard input: a line `NUMBER TOKEN` in, a line `NUMBER ACCEPTED REFUSED REASON` out.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
)

var issuer, audience, jwksURI = os.Getenv("ISSUER"), os.Getenv("AUDIENCE"), os.Getenv("JWKS_URI")

// divisor is by how much the times of the issuer are divided; 1 means that they are not.
var divisor = func() int {
	divisor, err := strconv.Atoi(os.Getenv("DIVISOR"))
	if err != nil {
		log.Fatal(err)
	}
	return divisor
}()

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		number, token, _ := strings.Cut(lines.Text(), " ")
		if err := verify(token); err != nil {
			fmt.Println(number, 0, 1, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println(number, 1, 0)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

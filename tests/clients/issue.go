// Go's own ACME library goes through the life of an account: it is under cert-manager and autocert.
//
//	issue '{"DirectoryURL":…,"Root":…,"Kind":"http-01","Port":…,"TXT":…,"Names":[…],"Output":…}'
//
// Responses to http-01 and tls-alpn-01 are served on the port; TXT records are files in a folder.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

type wish struct {
	DirectoryURL, Root, Kind, TXT, Output, KeyID, MAC string
	Port                                              int
	Names                                             []string
	ChangeKey                                         bool
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func main() {
	var w wish
	must(json.Unmarshal([]byte(os.Args[1]), &w))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client := &acme.Client{Key: newKey(), DirectoryURL: w.DirectoryURL, HTTPClient: trusting(w.Root)}
	account := &acme.Account{Contact: []string{"mailto:admin@corp.example"}}
	if w.KeyID != "" {
		mac, err := base64.RawURLEncoding.DecodeString(w.MAC)
		must(err)
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: w.KeyID, Key: mac}
	}
	_, err := client.Register(ctx, account, acme.AcceptTOS)
	must(err)
	_, err = client.GetReg(ctx, "") // as cert-manager does at each of its starts
	must(err)
	if w.ChangeKey {
		must(client.AccountKeyRollover(ctx, newKey()))
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(w.Names...))
	must(err)
	prove(ctx, client, w, order.AuthzURLs)
	order, err = client.WaitOrder(ctx, order.URI)
	must(err)
	key := newKey()
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, request(key, w.Names), true)
	must(err)
	write(w.Output, key, chain)
	must(client.RevokeCert(ctx, nil, chain[0], acme.CRLReasonSuperseded))
	_, err = client.UpdateReg(ctx, &acme.Account{Contact: []string{"mailto:other@corp.example"}})
	must(err)
	must(client.DeactivateReg(ctx))
}

func trusting(root string) *http.Client {
	text, err := os.ReadFile(root)
	must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		log.Fatal("no root in ", root)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// prove answers one challenge of each authorization, and waits for all of them.
func prove(ctx context.Context, client *acme.Client, w wish, urls []string) {
	pages := map[string]string{}
	shown := map[string]*tls.Certificate{}
	var accepted []*acme.Challenge
	for _, url := range urls {
		authorization, err := client.GetAuthorization(ctx, url)
		must(err)
		for _, challenge := range authorization.Challenges {
			if challenge.Type != w.Kind {
				continue
			}
			name := authorization.Identifier.Value
			switch w.Kind {
			case "http-01":
				text, err := client.HTTP01ChallengeResponse(challenge.Token)
				must(err)
				pages[client.HTTP01ChallengePath(challenge.Token)] = text
			case "tls-alpn-01":
				certificate, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
				must(err)
				shown[name] = &certificate
			case "dns-01":
				value, err := client.DNS01ChallengeRecord(challenge.Token)
				must(err)
				folder := filepath.Join(w.TXT, "_acme-challenge."+name)
				must(os.MkdirAll(folder, 0o755))
				must(os.WriteFile(filepath.Join(folder, value), nil, 0o644))
			}
			accepted = append(accepted, challenge)
		}
	}
	serve(w, pages, shown)
	for _, challenge := range accepted {
		_, err := client.Accept(ctx, challenge)
		must(err)
	}
	for _, url := range urls {
		_, err := client.WaitAuthorization(ctx, url)
		must(err)
	}
}

func serve(w wish, pages map[string]string, shown map[string]*tls.Certificate) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.Port))
	must(err)
	if w.Kind == "tls-alpn-01" {
		certificate := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return shown[strings.ToLower(hello.ServerName)], nil
		}
		config := &tls.Config{GetCertificate: certificate, NextProtos: []string{acme.ALPNProto}}
		listener = tls.NewListener(listener, config)
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					_ = connection.(*tls.Conn).Handshake()
					_ = connection.Close()
				}()
			}
		}()
		return
	}
	page := func(answer http.ResponseWriter, request *http.Request) {
		_, _ = answer.Write([]byte(pages[request.URL.Path]))
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(page)) }()
}

// request is made as cert-manager makes it: no subject, and a key usage that is critical.
func request(key crypto.Signer, names []string) []byte {
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0xa0}, BitLength: 3})
	must(err)
	template := &x509.CertificateRequest{
		DNSNames: names,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
		},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	must(err)
	return der
}

func write(folder string, key *ecdsa.PrivateKey, chain [][]byte) {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	must(os.WriteFile(filepath.Join(folder, "chain.pem"), text, 0o644))
	der, err := x509.MarshalECPrivateKey(key)
	must(err)
	text = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	must(os.WriteFile(filepath.Join(folder, "key.pem"), text, 0o600))
}

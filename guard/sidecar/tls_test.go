package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.sign("authority", nil)
	return a
}

// sign makes a certificate, of its own authority where by is nil.
func (a *authority) sign(name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	a.t.Helper()
	must := func(err error) {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: by == nil,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) pair(name string) tls.Certificate {
	_, _, cert, key := a.sign(name, a)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// TestClientCertificatesOverTLS: who shows a certificate of the authority gets
// its name to the service, everybody else 401 or no connection.
func TestClientCertificatesOverTLS(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Guard-Client"))
	}))
	defer service.Close()
	a, dir := newAuthority(t), t.TempDir()
	_, _, cert, key := a.sign("server", a)
	for name, content := range map[string][]byte{"ca": a.pem, "crt": cert, "key": key} {
		rewrite(t, filepath.Join(dir, name), string(content))
	}
	path := write(t, fmt.Sprintf("service: shop\nauth: {mtls: true, subjects: [web]}\ntls: {cert_file: %[1]s/crt, key_file: %[1]s/key, client_ca_file: %[1]s/ca}\n", dir))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, exited, stderr := make(chan addresses, 1), make(chan int, 1), &output{}
	hup := make(chan os.Signal)
	go func() {
		exited <- run(ctx, []string{"--config.file", path, "--upstream", service.URL, "--listen", "127.0.0.1:0", "--control.listen", "127.0.0.1:0"}, io.Discard, stderr, hup, func(a addresses) { ready <- a })
	}()
	at := <-ready
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	get := func(certs ...tls.Certificate) (int, string, error) {
		way := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs, MinVersion: tls.VersionTLS12}}
		defer way.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+at.proxy.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: way}).Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	for round := range 2 {
		if status, body, err := get(a.pair("web")); status != 200 || body != "web" {
			t.Errorf("round %d: %d %q %v", round, status, body, err)
		}
		if status, _, err := get(a.pair("stranger")); status != http.StatusUnauthorized {
			t.Errorf("another subject: %d %v", status, err)
		}
		if status, _, err := get(); status != http.StatusUnauthorized {
			t.Errorf("no certificate: %d %v", status, err)
		}
		if status, _, err := get(newAuthority(t).pair("web")); err == nil && status != http.StatusUnauthorized {
			t.Errorf("another authority: %d", status)
		}
		hup <- os.Interrupt // any signal: reads the files again
		hup <- os.Interrupt
	}
	rewrite(t, path, "service: shop\n")
	hup <- os.Interrupt
	hup <- os.Interrupt
	if status, _, err := get(a.pair("web")); status != 200 {
		t.Errorf("TLS was turned off by a reload: %d %v", status, err)
	}
	stop()
	if code := <-exited; code != exitOK {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

package guard

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSConfig is how the sidecar, or whoever serves Middleware, speaks TLS with
// callers. Without a certificate there is none.
type TLSConfig struct {
	CertFile     string `yaml:"cert_file" json:"cert_file"`
	KeyFile      string `yaml:"key_file" json:"key_file"`
	ClientCAFile string `yaml:"client_ca_file" json:"client_ca_file"` // who signs the certificates of clients
}

func (t TLSConfig) validate(f *faults) {
	f.check((t.CertFile == "") == (t.KeyFile == ""), "tls.key_file", "and cert_file: one is missing; allowed: both or none")
	f.check(t.ClientCAFile == "" || t.CertFile != "", "tls.client_ca_file", "stands without cert_file; allowed: beside it")
}

// Server reads the files and returns a configuration for an http.Server, or nil
// where no certificate is configured. Clients may come without a certificate:
// whether they need one is decided per request, so that health checks can pass.
func (t TLSConfig) Server() (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, nil //nolint:nilnil // no TLS is not a fault
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if t.ClientCAFile != "" {
		data, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("read client authorities: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read client authorities: %s holds no certificate", t.ClientCAFile)
		}
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return cfg, nil
}

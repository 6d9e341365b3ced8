// Command health says what Argo CD or Flux thinks of a resource, by their own code: from standard input it reads a JSON
// list of objects, and prints a JSON list of {"status", "message"}.
//
//	health argocd FILE    FILE is the ConfigMap argocd-cm, or a patch of it
//	health flux FILE      FILE is a Kustomization with spec.healthCheckExprs
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

type answer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type judge func(*unstructured.Unstructured) (answer, error)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: health argocd|flux FILE <OBJECTS")
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		return err
	}
	judges := map[string]func([]byte) (judge, error){"argocd": argocd, "flux": flux}
	by, known := judges[os.Args[1]]
	if !known {
		return fmt.Errorf("no %q; there are: argocd, flux", os.Args[1])
	}
	opinion, err := by(text)
	if err != nil {
		return fmt.Errorf("%s: %w", os.Args[2], err)
	}
	// The unstructured decoder, because it keeps whole numbers whole, as a cluster's answer does.
	objects := []json.RawMessage{}
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	answers := []answer{}
	for i, raw := range objects {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		said, err := opinion(object)
		if err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		answers = append(answers, said)
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// argocd reads the overrides as Argo CD's own settings do, so a wrong key in the ConfigMap is found as well.
func argocd(text []byte) (judge, error) {
	config := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, config); err != nil {
		return nil, err
	}
	meta := metav1.ObjectMeta{Namespace: "argocd", Labels: map[string]string{"app.kubernetes.io/part-of": "argocd"}}
	config.ObjectMeta = meta
	config.Name = common.ArgoCDConfigMapName
	secret := &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"server.secretkey": []byte("test")}}
	secret.Name = common.ArgoCDSecretName
	manager := settings.NewSettingsManager(context.Background(), fake.NewClientset(config, secret), meta.Namespace)
	if err := manager.ResyncInformers(); err != nil {
		return nil, err
	}
	overrides, err := manager.GetResourceOverrides()
	if err != nil {
		return nil, err
	}
	return func(object *unstructured.Unstructured) (answer, error) {
		health, err := lua.ResourceHealthOverrides(overrides).GetResourceHealth(object)
		if err != nil {
			return answer{}, err
		}
		if health == nil {
			return answer{}, fmt.Errorf("no health script for %s", object.GroupVersionKind())
		}
		return answer{string(health.Status), health.Message}, nil
	}, nil
}

func flux(text []byte) (judge, error) {
	kustomization := kustomizev1.Kustomization{}
	if err := yaml.UnmarshalStrict(text, &kustomization); err != nil {
		return nil, err
	}
	return func(object *unstructured.Unstructured) (answer, error) {
		for _, check := range kustomization.Spec.HealthCheckExprs {
			if check.APIVersion != object.GetAPIVersion() || check.Kind != object.GetKind() {
				continue
			}
			evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
			if err != nil {
				return answer{}, err
			}
			result, err := evaluator.Evaluate(context.Background(), object)
			if err != nil { // as Flux's status reader has it, which then asks again
				return answer{"Unknown", err.Error()}, nil
			}
			return answer{string(result.Status), result.Message}, nil
		}
		return answer{}, fmt.Errorf("no health check expression for %s %s", object.GetAPIVersion(), object.GetKind())
	}, nil
}

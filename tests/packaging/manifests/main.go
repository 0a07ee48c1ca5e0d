// Reads the files of examples/sidecar as the programs that they are for do, and prints them as JSON.
//
// The compose file is read by Compose's own library, with its schema. The Kubernetes manifests are rendered by kustomize's library, decoded into the
// types of Kubernetes, where an unknown or repeated field is an error, and held to the Pod Security Standard "restricted" by its own evaluator.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifests FOLDER")
		os.Exit(2)
	}
	read, err := readAll(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(read); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func readAll(folder string) (map[string]any, error) {
	compose, err := readCompose(filepath.Join(folder, "compose.yaml"))
	if err != nil {
		return nil, fmt.Errorf("compose.yaml: %w", err)
	}
	objects, err := readKubernetes(folder)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return map[string]any{"compose": compose, "kubernetes": objects}, nil
}

func readCompose(path string) (any, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithResolvedPaths(false))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func readKubernetes(folder string) ([]runtime.Object, error) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", resource.CurId(), err)
		}
		if deployment, ok := object.(*appsv1.Deployment); ok {
			if err := isRestricted(evaluator, &deployment.Spec.Template); err != nil {
				return nil, fmt.Errorf("%s: %w", resource.CurId(), err)
			}
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// isRestricted reports what a namespace with the level "restricted" refuses in a pod.
func isRestricted(evaluator policy.Evaluator, pod *corev1.PodTemplateSpec) error {
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var refused []string
	for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			refused = append(refused, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	if len(refused) > 0 {
		return errors.New(strings.Join(refused, "; "))
	}
	return nil
}

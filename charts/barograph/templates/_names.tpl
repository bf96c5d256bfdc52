{{/* Names and labels. */}}

{{- define "barograph.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "barograph" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-barograph" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (list context component) -> the component's object name */}}
{{- define "barograph.name" -}}
{{- printf "%s-%s" (include "barograph.fullname" (first .)) (last .) -}}
{{- end -}}

{{/* (list context component) -> its object's name in another namespace, or in none: no other release's */}}
{{- define "barograph.nameElsewhere" -}}
{{- printf "%s.%s" (first .).Release.Namespace (include "barograph.name" .) -}}
{{- end -}}

{{/* (list context component) -> what selects its pods; never changes in the life of a release */}}
{{- define "barograph.selector" -}}
app.kubernetes.io/name: barograph
app.kubernetes.io/instance: {{ (first .).Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* (list context component) -> labels of every object; what selects pods is never another's to change */}}
{{- define "barograph.labels" -}}
{{- $chart := printf "%s-%s" (first .).Chart.Name (first .).Chart.Version -}}
{{- $own := dict "app.kubernetes.io/version" (first .).Chart.AppVersion "app.kubernetes.io/managed-by" (first .).Release.Service "helm.sh/chart" $chart -}}
{{- merge (include "barograph.selector" . | fromYaml) $own ((first .).Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{/* (list context component [own]) -> the field of annotations of an object; nothing where there are none */}}
{{- define "barograph.annotations" -}}
{{- $own := dict }}{{ if gt (len .) 2 }}{{ $own = last . | default dict }}{{ end -}}
{{- with merge (deepCopy $own) (first .).Values.commonAnnotations -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* (list context service) -> image of a service */}}
{{- define "barograph.image" -}}
{{- $image := (first .).Values.image -}}
{{- $tag := $image.tag | default (first .).Chart.AppVersion -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}{{ last . -}}
{{- with get $image.digests (last .) }}@{{ . }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* the value of the label that marks the jobs of this installation; no other's, however long both names are */}}
{{- define "barograph.owner" -}}
{{- $whole := printf "%s.%s" .Release.Namespace .Release.Name -}}
{{- if le (len $whole) 63 -}}
{{- $whole -}}
{{- else -}}
{{- printf "%s-%s" ($whole | trunc 52) ($whole | sha256sum | trunc 10) -}}
{{- end -}}
{{- end -}}

{{/* the namespace in which jobs run */}}
{{- define "barograph.jobsNamespace" -}}
{{- $name := .Values.jobs.namespace | default (printf "%s-jobs" .Release.Namespace) -}}
{{- if eq $name .Release.Namespace -}}
{{- fail (printf "jobs.namespace must not be the release's own namespace %q: the task service may read every Secret where jobs run, and these are Barograph's own" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* names of the Secrets the services read */}}
{{- define "barograph.secret.broker" -}}
{{- ternary (include "barograph.name" (list . "quickstart-broker")) .Values.broker.existingSecret .Values.quickstart.enabled -}}
{{- end -}}
{{- define "barograph.secret.objectStore" -}}
{{- ternary (include "barograph.name" (list . "quickstart-objects")) .Values.objectStore.existingSecret .Values.quickstart.enabled -}}
{{- end -}}
{{- define "barograph.secret.database" -}}
{{- ternary (include "barograph.name" (list . "quickstart-database")) .Values.database.existingSecret .Values.quickstart.enabled -}}
{{- end -}}
{{- define "barograph.secret.tokens" -}}
{{- .Values.tokens.existingSecret | default (include "barograph.name" (list . "tokens")) -}}
{{- end -}}

{{/* the object store as services and members of jobs see it */}}
{{- define "barograph.objectStoreUrl" -}}
{{- if .Values.quickstart.enabled -}}
http://{{ include "barograph.name" (list . "seaweedfs") }}.{{ .Release.Namespace }}.svc:8333
{{- else -}}
{{- .Values.objectStore.url -}}
{{- end -}}
{{- end -}}

{{/* names that come out of others: of Services, and of the jobs' namespace */}}
{{- define "barograph.checkNames" -}}
{{- $name := include "barograph.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the release's name makes Services' names begin with %q, but these begin with a letter and have only small letters, digits and hyphens: set fullnameOverride" $name) -}}
{{- end -}}
{{- $jobs := include "barograph.jobsNamespace" . -}}
{{- if gt (len $jobs) 63 -}}
{{- fail (printf "the jobs' namespace %q would have more than 63 characters: set jobs.namespace" $jobs) -}}
{{- end -}}
{{- end -}}

{{/* every mistake in the values that the schema cannot see */}}
{{- define "barograph.check" -}}
{{- include "barograph.checkNames" . -}}
{{- if and .Values.keda.enabled .Values.hpa.enabled -}}
{{- fail "keda.enabled and hpa.enabled would both set the number of replicas: choose one" -}}
{{- end -}}
{{- if .Values.gateway.enabled -}}
{{- range $name, $_ := .Values.detector.settings -}}
{{- if or (hasPrefix "gateway_" $name) (eq $name "heartbeat_s") -}}
{{- fail (printf "detector.settings.%s is the gateway's, which gateway.enabled takes out of the detector: give it in gateway.settings" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the Gateway that the routes belong to" -}}
{{- end -}}
{{- if and .Values.trust.certificates .Values.trust.configMap -}}
{{- fail "trust.certificates makes a ConfigMap, trust.configMap names one: give one of them" -}}
{{- end -}}
{{- if .Values.quickstart.enabled -}}
{{- if or .Values.broker.existingSecret .Values.objectStore.existingSecret .Values.objectStore.url .Values.database.existingSecret -}}
{{- fail "quickstart.enabled brings its own broker, object store and database: leave broker.existingSecret, objectStore.url, objectStore.existingSecret and database.existingSecret empty, or it false" -}}
{{- end -}}
{{- else -}}
{{- $faults := list -}}
{{- if not .Values.broker.existingSecret }}{{ $faults = append $faults "broker.existingSecret (AMQP URLs, one key for each service)" }}{{ end -}}
{{- if not .Values.objectStore.url }}{{ $faults = append $faults "objectStore.url" }}{{ end -}}
{{- if not .Values.objectStore.existingSecret }}{{ $faults = append $faults "objectStore.existingSecret (access-key, secret-key)" }}{{ end -}}
{{- if not .Values.database.existingSecret }}{{ $faults = append $faults "database.existingSecret (SQLAlchemy URLs, one key for each service with a store)" }}{{ end -}}
{{- if $faults -}}
{{- fail (printf "\n\nNot set: %s.\nName your own broker, object store and database, or set quickstart.enabled=true for an evaluation." (join "; " $faults)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Namespaces whose TFJobs are run, as a JSON array. */}}
{{- define "barograph.tfjobNamespaces" -}}
{{- $where := list (include "barograph.jobsNamespace" .) -}}
{{- range .Values.jobs.projects }}{{ $where = append $where .namespace }}{{ end -}}
{{- .Values.tfjob.namespaces | default $where | uniq | toJson -}}
{{- end -}}

{{- /* Namespaces in which jobs run, as a JSON array of {name, create, quota}: that of all projects first. */}}
{{- define "barograph.jobsNamespaces" -}}
{{- $home := include "barograph.jobsNamespace" . -}}
{{- $found := list (dict "name" $home "create" .Values.jobs.createNamespace "quota" .Values.jobs.quota) -}}
{{- $names := list $home .Release.Namespace -}}
{{- range $project, $of := .Values.jobs.projects -}}
{{- if has $of.namespace $names -}}
{{- fail (printf "jobs.projects.%s.namespace %q is the release's own, the jobs' or another project's: what runs there could read the other's Secrets" $project $of.namespace) -}}
{{- end -}}
{{- $names = append $names $of.namespace -}}
{{- $found = append $found (dict "name" $of.namespace "create" ($of.createNamespace | default false) "quota" ($of.quota | default dict)) -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

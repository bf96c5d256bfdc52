{{/* What each service is told, by names its settings.py knows: an unknown one stops it. */}}

{{/* What the services are; what differs between their workloads stands here and nowhere else. */}}
{{- define "barograph.services" -}}
client:    {kind: Deployment, store: true, objects: true, port: 8000, rolling: true, graceSeconds: 60}
task:      {kind: Deployment, store: true, objects: true, graceSeconds: 60}
autospec:  {kind: Deployment, store: true, rolling: true, graceSeconds: 60}
{{- if .Values.gateway.enabled }}
gateway:   {program: detector, kind: Deployment, port: 9201, rolling: true, graceSeconds: 60}
{{- /* Its Service had an address before the gateways left it, and may not lose it. */}}
detector:  {kind: StatefulSet, objects: true, addressed: true, graceSeconds: 150}
{{- else }}
detector:  {kind: StatefulSet, objects: true, port: 9201, graceSeconds: 150}
{{- end }}
predictor: {kind: StatefulSet, objects: true, graceSeconds: 150}
healer:    {kind: Deployment, store: true, objects: true, port: 8081, graceSeconds: 60}
{{- end -}}

{{/* context -> whose pods take samples in */}}
{{- define "barograph.gateway" -}}{{ ternary "gateway" "detector" .Values.gateway.enabled }}{{- end -}}

{{/* context -> what all services are told */}}
{{- define "barograph.settings.all" -}}
BAROGRAPH_HEALTH_HOST: "0.0.0.0"
BAROGRAPH_HEALTH_PORT: "8080"
BAROGRAPH_STATE_DIR: /var/lib/barograph
BAROGRAPH_LOG_LEVEL: {{ .Values.logLevel | quote }}
BAROGRAPH_METRIC_PARTITIONS: {{ .Values.metricPartitions | toJson | quote }}
{{- with .Values.metricPartitionsBefore }}
BAROGRAPH_METRIC_PARTITIONS_BEFORE: {{ . | toJson | quote }}
{{- end }}
{{- end -}}

{{- define "barograph.settings.traces" -}}
{{- with .Values.traces }}{{ if .url }}
BAROGRAPH_TRACES_URL: {{ .url | quote }}
BAROGRAPH_TRACES_RATIO: {{ .ratio | toJson | quote }}
{{- end }}{{ end }}
{{- end -}}

{{- define "barograph.settings.objects" -}}
BAROGRAPH_S3_URL: {{ include "barograph.objectStoreUrl" . | quote }}
BAROGRAPH_S3_BUCKET: {{ .Values.objectStore.bucket | quote }}
{{- end -}}

{{- define "barograph.settings.client" -}}
{{- $name := include "barograph.name" (list . "client") -}}
{{- $hosts := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) "localhost" "127.0.0.1" -}}
{{- if .Values.ingress.enabled }}{{ $hosts = append $hosts .Values.ingress.host }}{{ end -}}
{{- if .Values.httpRoute.enabled }}{{ $hosts = append $hosts .Values.httpRoute.host }}{{ end -}}
BAROGRAPH_CLIENT_HTTP_HOST: "0.0.0.0"
BAROGRAPH_CLIENT_HTTP_PORT: "8000"
{{- /* For tshell, run inside the pod. */}}
BAROGRAPH_URL: http://localhost:8000
BAROGRAPH_CLIENT_HEALER_API_URL: http://{{ include "barograph.name" (list . "healer") }}:{{ (include "barograph.services" . | fromYaml).healer.port }}
BAROGRAPH_CLIENT_ALLOWED_HOSTS: {{ concat $hosts .Values.client.hosts | uniq | join "," | quote }}
{{- with .Values.objectStore.publicUrl }}
BAROGRAPH_CLIENT_S3_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "barograph.settings.task" -}}
BAROGRAPH_TASK_RUNTIME: kubernetes
BAROGRAPH_TASK_REPLICAS: {{ .Values.task.replicas | default 1 | toJson | quote }}
BAROGRAPH_TASK_OWNER: {{ include "barograph.owner" . | quote }}
BAROGRAPH_TASK_NAMESPACE: {{ include "barograph.jobsNamespace" . | quote }}
{{- with .Values.jobs.projects }}
{{- $namespaces := dict }}
{{- range $project, $of := . }}{{ $_ := set $namespaces $project $of.namespace }}{{ end }}
BAROGRAPH_TASK_PROJECT_NAMESPACES: {{ toJson $namespaces | quote }}
{{- end }}
BAROGRAPH_TASK_LAUNCHER_IMAGE: {{ include "barograph.image" (list . "task") | quote }}
BAROGRAPH_TASK_PROGRAM_IMAGE: {{ .Values.jobs.programImage | quote }}
BAROGRAPH_TASK_IMAGE_PULL_POLICY: {{ .Values.jobs.imagePullPolicy | quote }}
BAROGRAPH_TASK_ALLOWED_IMAGES: {{ toJson .Values.jobs.allowedImages | quote }}
BAROGRAPH_TASK_ALLOWED_PRIORITY_CLASSES: {{ toJson .Values.jobs.allowedPriorityClasses | quote }}
BAROGRAPH_TASK_ALLOWED_QUEUES: {{ toJson .Values.jobs.allowedQueues | quote }}
{{- /* What jobs may not name is not said: every one of these is empty or false by default. */}}
{{- $jobs := .Values.jobs }}
{{- range $list := list "Claims" "ConfigMaps" "HostNetwork" "HostPaths" "Nfs" "RuntimeClasses" "Secrets" "ServiceAccounts" "Tolerations" }}
{{- with index $jobs (printf "allowed%s" $list) }}
BAROGRAPH_TASK_ALLOWED_{{ $list | snakecase | upper }}: {{ toJson . | quote }}
{{- end }}
{{- end }}
{{- with include "barograph.trust.name" . }}
BAROGRAPH_TASK_TRUST_CONFIG_MAP: {{ . | quote }}
{{- end }}
BAROGRAPH_TASK_PROGRAM_STORAGE: {{ .Values.jobs.storage | quote }}
{{- with .Values.jobs.priorityClass }}
BAROGRAPH_TASK_PRIORITY_CLASS: {{ . | quote }}
{{- end }}
{{- with .Values.jobs.queue }}
BAROGRAPH_TASK_QUEUE: {{ . | quote }}
{{- end }}
{{- with .Values.jobs.nodeSelector }}
BAROGRAPH_TASK_NODE_SELECTOR: {{ toJson . | quote }}
{{- end }}
{{- with .Values.jobs.tolerations }}
BAROGRAPH_TASK_TOLERATIONS: {{ toJson . | quote }}
{{- end }}
{{- if .Values.tfjob.enabled }}
BAROGRAPH_TASK_TFJOB_NAMESPACES: {{ include "barograph.tfjobNamespaces" . | quote }}
{{- end }}
{{- end -}}

{{- define "barograph.settings.autospec" -}}{{- end -}}

{{- define "barograph.settings.detector" -}}
BAROGRAPH_DETECTOR_SNAPSHOTS: s3
{{- if .Values.gateway.enabled }}
BAROGRAPH_DETECTOR_ROLES: '["judge"]'
{{- else }}
{{ include "barograph.settings.listening" . }}
{{- end }}
{{- end -}}

{{- define "barograph.settings.gateway" -}}
BAROGRAPH_DETECTOR_ROLES: '["gateway"]'
{{ include "barograph.settings.listening" . }}
{{- end -}}

{{/* where the gateway listens, whichever pods have it */}}
{{- define "barograph.settings.listening" -}}
BAROGRAPH_DETECTOR_GATEWAY_HOST: "0.0.0.0"
BAROGRAPH_DETECTOR_GATEWAY_PORT: "9201"
{{- end -}}

{{- define "barograph.settings.predictor" -}}
BAROGRAPH_PREDICTOR_SNAPSHOTS: s3
{{- end -}}

{{- define "barograph.settings.healer" -}}
BAROGRAPH_HEALER_HTTP_HOST: "0.0.0.0"
BAROGRAPH_HEALER_HTTP_PORT: "8081"
BAROGRAPH_HEALER_CANARY_EVERY_S: "60"
BAROGRAPH_HEALER_REPLICAS: {{ .Values.healer.replicas | default 1 | toJson | quote }}
BAROGRAPH_HEALER_SNAPSHOTS: s3
{{- end -}}

{{/* (list variables service settings) -> YAML of the variables and those from the values' `settings` */}}
{{- define "barograph.settings.merged" -}}
{{- $all := deepCopy (index . 0) -}}{{- $service := index . 1 -}}
{{- range $name, $value := index . 2 -}}
{{- $variable := printf "BAROGRAPH_%s_%s" (upper $service) (upper $name) -}}
{{- $common := printf "BAROGRAPH_%s" (upper $name) -}}
{{- if or (hasKey $all $variable) (and (ne $name "log_level") (hasKey $all $common)) -}}
{{- fail (printf "%s.settings may not change %s: the chart itself depends on it" $service $name) -}}
{{- end -}}
{{- $_ := set $all $variable (ternary $value (toJson $value) (kindIs "string" $value)) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* (list context service) -> YAML of the service's variables that are no secret */}}
{{- define "barograph.settings" -}}
{{- $context := first . -}}{{- $service := last . -}}
{{- $facts := index (include "barograph.services" $context | fromYaml) $service -}}
{{- $all := include "barograph.settings.all" $context | fromYaml -}}
{{- if $facts.objects }}{{ $all = merge $all (include "barograph.settings.objects" $context | fromYaml) }}{{ end -}}
{{- $all = merge $all (include "barograph.settings.traces" $context | fromYaml) -}}
{{- $all = merge $all (include (printf "barograph.settings.%s" $service) $context | fromYaml) -}}
{{- include "barograph.settings.merged" (list $all ($facts.program | default $service) (index $context.Values $service).settings) -}}
{{- end -}}

{{/* (list context service) -> the variables that are secrets, and the pod's name */}}
{{- define "barograph.secrets" -}}
{{- $context := first . -}}{{- $service := last . -}}
{{- $facts := index (include "barograph.services" $context | fromYaml) $service -}}
{{- $broker := include "barograph.secret.broker" $context -}}
{{- $tokens := include "barograph.secret.tokens" $context -}}
{{- $objects := include "barograph.secret.objectStore" $context -}}
- name: BAROGRAPH_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{ include "barograph.secretEnv" (list "BAROGRAPH_BROKER_URL" $broker ($facts.program | default $service)) }}
{{- if $facts.store }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_STORE_URL" (include "barograph.secret.database" $context) $service) }}
{{- end }}
{{- if $facts.objects }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_S3_ACCESS_KEY" $objects "access-key") }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_S3_SECRET_KEY" $objects "secret-key") }}
{{- end }}
{{- with $context.Values.traces.headersSecret }}
{{ include "barograph.secretEnv" (list "OTEL_EXPORTER_OTLP_HEADERS" . "headers") }}
{{- end }}
{{- if eq $service "client" }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_CLIENT_API_TOKEN" $tokens "client") }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_TOKEN" $tokens "client") }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_CLIENT_HEALER_TOKEN" $tokens "healer") }}
{{- with $context.Values.client.oidcSecret }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_CLIENT_OIDC_CLIENT_SECRET" . "client-secret") }}
{{- end }}
{{- else if eq $service "task" }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_TASK_MEMBER_BROKER_URL" $broker "member") }}
- name: BAROGRAPH_TASK_MEMBER_SIGNING_KEY
  valueFrom: {secretKeyRef: {name: {{ $broker | quote }}, key: member-signing-key, optional: true}}
{{- else if eq $service (include "barograph.gateway" $context) }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_DETECTOR_GATEWAY_TOKEN" $tokens "gateway") }}
{{- else if eq $service "healer" }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_HEALER_HTTP_TOKEN" $tokens "healer") }}
{{- with $context.Values.healer.channelsSecret }}
- name: BAROGRAPH_HEALER_CHANNELS
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: channels}}
- name: BAROGRAPH_HEALER_LINK_KEYS
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: link-keys, optional: true}}
{{- end }}
{{- if $context.Values.healer.smtpSecret }}
{{ include "barograph.secretEnv" (list "BAROGRAPH_HEALER_SMTP_URL" $context.Values.healer.smtpSecret "url") }}
{{- end }}
{{- end }}
{{- end -}}

"""What is known of real roles from their publishers: (roles held, code, allowed). True of the excerpt and of the whole file."""

from __future__ import annotations

from typing import Final

Check = tuple[tuple[str, ...], str, bool]

AWS: Final[list[Check]] = [
    (("AdministratorAccess",), "s3:GetObject", True),
    (("AmazonS3ReadOnlyAccess",), "s3:GetObject", True),
    (("AmazonS3ReadOnlyAccess",), "s3:PutObject", False),
    (("IAMFullAccess",), "iam:CreateUser", True),
    (("IAMFullAccess",), "s3:GetObject", False),
    (("IAMReadOnlyAccess",), "iam:CreateUser", False),
    (("PowerUserAccess",), "s3:PutObject", True),
    (("PowerUserAccess",), "iam:CreateUser", False),
    (("PowerUserAccess",), "iam:ListRoles", True),
    (("AmazonSQSReadOnlyAccess",), "sqs:GetQueueUrl", True),
    (("AmazonSQSReadOnlyAccess",), "sqs:SendMessage", False),
    (("AWSDenyAll", "AdministratorAccess"), "s3:GetObject", False),
    (("AWSCertificateManagerPrivateCAUser",), "acm-pca:GetCertificate", True),
    (("AWSCertificateManagerPrivateCAUser",), "acm-pca:IssueCertificate", False),
    # Written SNS:Publish and Discovery:* in the policy, ssm-sap:get* in the other.
    (("AWSAgentlessDiscoveryService",), "sns:Publish", True),
    (("AWSSystemsManagerForSAPReadOnlyAccess",), "ssm-sap:GetApplication", True),
    (("AWSSystemsManagerForSAPReadOnlyAccess",), "ssm-sap:DeregisterApplication", False),
    # A NotAction statement that denies: all but the audit of credentials.
    (("IAMAuditRootUserCredentials", "AdministratorAccess"), "iam:CreateUser", False),
    (("IAMAuditRootUserCredentials", "AdministratorAccess"), "s3:GetObject", False),
    (("IAMAuditRootUserCredentials", "AdministratorAccess"), "iam:GetAccountSummary", True),
]

GCP: Final[list[Check]] = [
    (("roles/storage.objectViewer",), "storage.objects:get", True),
    (("roles/storage.objectViewer",), "storage.objects:delete", False),
    (("roles/storage.objectAdmin",), "storage.objects:delete", True),
    (("roles/pubsub.publisher",), "pubsub.topics:publish", True),
    (("roles/pubsub.publisher",), "pubsub.subscriptions:consume", False),
    (("roles/pubsub.publisher", "roles/pubsub.subscriber"), "pubsub.subscriptions:consume", True),
    (("roles/run.invoker",), "run.routes:invoke", True),
    (("roles/iam.workforcePoolViewer",), "iam.googleapis.com/workforcePools:get", True),
    (("roles/iam.serviceAccountTokenCreator",), "iam.serviceAccounts:signJwt", True),
    (("roles/secretmanager.secretAccessor",), "secretmanager.versions:access", True),
    (("roles/secretmanager.secretAccessor",), "iam.serviceAccounts:signJwt", False),
    (("roles/agentcommunicationadmin.viewer",), "storage.objects:get", False),
]

_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
AZURE: Final[list[Check]] = [
    (("AcrPush",), "Microsoft.ContainerRegistry/registries/push:write", True),
    (("AcrPush",), "Microsoft.Compute/virtualMachines:read", False),
    (("Reader",), "Microsoft.Network/virtualNetworks:read", True),
    (("Reader",), "Microsoft.Compute/availabilitySets:write", False),
    (("Contributor",), "Microsoft.ApiManagement/service:write", True),
    # Excluded as Microsoft.Authorization/*/Write.
    (("Contributor",), "Microsoft.Authorization/roleAssignments:write", False),
    (("Contributor", "Owner"), "Microsoft.Authorization/roleAssignments:write", True),
    (("User Access Administrator",), "Microsoft.Authorization/roleAssignments:write", True),
    # Two planes: managing an account reads no blob.
    (("Owner",), f"{_BLOBS}:read", False),
    (("Storage Account Contributor",), f"{_BLOBS}:read", False),
    (("Storage Blob Data Reader",), f"{_BLOBS}:read", True),
    (("Storage Blob Data Reader",), f"{_BLOBS}:write", False),
    (("Storage Blob Data Contributor",), f"{_BLOBS}:write", True),
    (("Key Vault Secrets User",), "Microsoft.KeyVault/vaults/secrets/getSecret:action", True),
    (("Cognitive Services User",), "Microsoft.CognitiveServices/accounts:read", True),
    (("Cognitive Services User",), "Microsoft.CognitiveServices/accounts/defenderForAISettings:delete", False),
    (("API Management Service Operator Role",), "Microsoft.ApiManagement/service/users/keys:read", False),
    (("API Management Service Operator Role",), "Microsoft.ApiManagement/service/backup:action", True),
    # Guarded by a condition that cannot be said here.
    (("Key Vault Data Access Administrator",), "Microsoft.Authorization/roleAssignments:write", False),
    (("Oracle Database DbSystems Administrator",), "Microsoft.Network/virtualNetworks:read", False),
]

KUBERNETES: Final[list[Check]] = [
    (("view",), "apps/deployments:get", True),
    (("view",), "apps/deployments:create", False),
    (("view",), "core/secrets:get", False),
    (("edit",), "apps/deployments:create", True),
    (("edit",), "core/secrets:get", True),
    (("edit",), "rbac.authorization.k8s.io/roles:create", False),
    (("admin",), "rbac.authorization.k8s.io/roles:create", True),
    (("cluster-admin",), "core/pods/exec:create", True),
    (("cluster-admin",), "url:/healthz:get", True),
    (("system:discovery",), "url:/healthz:get", True),
    (("system:discovery",), "core/pods:list", False),
    (("system:controller:generic-garbage-collector",), "apps/deployments/scale:get", True),
    (("system:controller:generic-garbage-collector",), "core/pods/exec:create", False),
    (("system:controller:generic-garbage-collector",), "url:/healthz:get", False),
    (("system:controller:horizontal-pod-autoscaler",), "apps/deployments/scale:update", True),
    (("system:controller:horizontal-pod-autoscaler",), "apps/deployments:update", False),
    (("system:controller:horizontal-pod-autoscaler",), "core/services/proxy@http%3Aheapster%3A:get", True),
    # Who may read every map may read the named one; not the other way round.
    (("view",), "core/configmaps@extension-apiserver-authentication:get", True),
    (("kube-system/extension-apiserver-authentication-reader",), "core/configmaps@extension-apiserver-authentication:get", True),
    (("kube-system/extension-apiserver-authentication-reader",), "core/configmaps:get", False),
]

CHECKS: Final = {"aws": AWS, "azure": AZURE, "gcp": GCP, "kubernetes": KUBERNETES}

"""Projects, scenes, characters and takes; and a person's own tokens and theme."""

from django.urls import path

from projects import arrange, files, invitations, views

app_name = "projects"
urlpatterns = [
    path("", views.project_list, name="list"),
    path("projects/new/", views.project_new, name="new"),
    path("projects/<id:project_id>/delete/", views.project_delete, name="delete"),
    path("projects/<id:project_id>/scenes/new/", views.scene_new, name="scene_new"),
    path("projects/<id:project_id>/scenes/lock/", arrange.scenes_lock, name="scenes_lock"),
    path("scenes/<id:scene_id>/edit/", views.scene_edit, name="scene_edit"),
    path("scenes/<id:scene_id>/delete/", views.scene_delete, name="scene_delete"),
    path("scenes/<id:scene_id>/move/", arrange.scene_move, name="scene_move"),
    path("scenes/<id:scene_id>/lock/", arrange.scene_lock, name="scene_lock"),
    path("projects/<id:project_id>/characters/new/", views.character_new, name="character_new"),
    path("characters/<id:character_id>/edit/", views.character_edit, name="character_edit"),
    path("characters/<id:character_id>/delete/", views.character_delete, name="character_delete"),
    path("scenes/<id:scene_id>/upload/", views.scene_upload, name="scene_upload"),
    path("characters/<id:character_id>/upload/", views.character_upload, name="character_upload"),
    path("takes/<id:take_id>/choose/", views.take_choose, name="take_choose"),
    path("takes/<id:take_id>/star/", views.take_star, name="take_star"),
    path("takes/<id:take_id>/trash/", views.take_trash, name="take_trash"),
    path("takes/<id:take_id>/put-back/", views.take_put_back, name="take_put_back"),
    path("takes/<id:take_id>/picture", files.picture, name="picture"),
    path("takes/<id:take_id>/thumbnail", files.thumbnail, name="thumbnail"),
    path("invitations/<str:key>/", invitations.invitation, name="invitation"),
    path("account/tokens/", views.tokens, name="tokens"),
    path("account/tokens/<int:token_id>/revoke/", views.token_revoke, name="token_revoke"),
    path("theme/", views.theme, name="theme"),
]
